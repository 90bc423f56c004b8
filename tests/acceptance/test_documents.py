"""The documents: commands, options, files and imports in them exist."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from documents import ROOT, blocks, mentioned, unknown_words

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_commands_are_found_in_the_documents() -> None:
    assert sum(1 for document in DOCUMENTS for _ in mentioned(document)) > 100


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_commands_and_options_exist(document: Path) -> None:
    assert [(words, unknown) for words in mentioned(document) if (unknown := unknown_words(words))] == []


def test_an_unknown_option_is_noticed() -> None:
    assert unknown_words(["clipada", "history", "list", "--defective", "--sort=id"]) == ["--sort"]
    assert unknown_words(["clipada", "training", "DATA"]) == ["training"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_programs_targets_and_extras_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    scripts = re.findall(r"(?:benchmarks|scripts)/\w+\.py", text)
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [words[1] for block in blocks(document) for words in block.commands if words[0] == "make"]
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    extras = {name for found in re.findall(r"clipada\[([\w,]+)\]", text) for name in found.split(",")}
    assert extras <= set(known)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_imports_work(document: Path) -> None:
    for block in blocks(document):
        if block.language != "python":
            continue
        for statement in ast.walk(ast.parse(block.text)):
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("clipada"):
                module = importlib.import_module(str(statement.module))
                assert [alias.name for alias in statement.names if not hasattr(module, alias.name)] == []
