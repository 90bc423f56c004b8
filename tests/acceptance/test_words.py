"""Words of code, help and docs: the field's terms, American spelling, docstrings that begin with a verb or a noun."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "clipada"

FORMATS = (
    r"\"normalised\"",  # value of the setting `similarity.kind`
    r"normalised(?=`)",
    r"\bcentres\b(?=\"|`|: Tensor|: ``C``|\.float)",  # tensor of the prototypes in the adapter's file
    r"\b(self|prototypes)\.centres\b",
    r"\bneighbourhood\b(?=[:=\"`]| leaves)|\.neighbourhood\b",  # settings of two baselines
    r"coloured_thread[\"`]|foreign_fibre[\"`]|[\"`]discoloured[\"`]",  # folders of the demo's data set
    r"aria-labelledby|aria-describedby",
    r"\bcold_below\b",  # fields of an export's description
    r"history mended|def mended\(|\"mended\"",  # public subcommand
    r"\"promised\"|\bpromised: float|\.promised\b|\bpromised(?= [}?=*]|[,)}]| ===)",  # field of the status route
    r"Promise(?=[.(])",  # JavaScript's
    r"/[\w.-]*licence[\w.-]*",
)
"""Strings that belong to file formats, settings and interfaces; they stay as they are."""

GLOSSARY = (
    (r"\b(first|last|hot|cold|warm|blank|coarse|whole) looks?\b|\blooking tokens?\b|\bwhat looks\b", "forward pass"),
    (r"\btokens? that looks?\b|\blooks? with\b|\blook operations\b", "query tokens"),
    (r"\blook(s|ed|ing)? at (an? |the |all |no |its )?(image|patch|patches|token)s?\b", "forward pass"),
    (r"\bone that looks\b|\blooks? (again|twice|once)\b", "forward pass"),
    (r"\b(hot|cold|cool)\b|\bwarm\b(?![ -]up| start)", "active or inactive"),
    (r"\bhands\b(?! (\w+ )*(over|out|to)\b)", "workers"),
    (r"\bmend(s|ed|ing)?\b", "fix"),
    (r"\b(lies?|lain|lying)\b", "is"),
    (r"\baloud\b", "printed"),
    (r"\b(told|tells?)\b(?!.* (apart|from)\b)", "report or say"),
    (r"\brooms?\b", "module, package, memory, space"),
    (r"\boperations?\b", "FLOPs"),
    (r"\bpaces?\b", "throughput"),
    (r"\bcontenders?\b", "baselines"),
    (r"\b(map|maps|logits?|pixels?|prototypes) (is |are )?raised\b|\braised (by|maps?|logits?)\b", "memory offset"),
    (r"\bcounting maps?\b", "final map"),
    (r"\bpromis(e|es|ed|ing)\b", "guarantee"),
    (r"\bessences?\b", "fingerprint"),
    (r"\bleads\b(?! to)", "is_rank_zero"),
    (r"\bbegun\b(?=\()|\bimport\b.*\bbegun\b", "recorded config"),
    (r"\b(tokens?|keys|values) (that are |are )?remembered\b|\bremembered (tokens?|keys|values)\b", "kv_cache"),
)
"""Words that are not the field's, in the sense meant here, and the words to write instead."""

BRITISH = re.compile(
    r"colour|grey|neighbour|centre|centring|fibre|behaviour|favour|honour|labour|licence|labell|modell|cancell|travell"
    r"|learnt\b|spoilt\b|spelt\b|towards\b|amongst\b|whilst\b|mould|catalogue|defence|artefact|sceptic|ageing\b"
    r"|(normal|optim|quant|recogn|local|summar|equal|solar|poster|standard|minim|maxim|synthes|serial|visual|organ"
    r"|initial|general|special|regular|parametr|token|author|categor|emphas|random|vector|binar|discret|memor|real"
    r"|final|penal|util|character|capital|stabil|synchron|local)is(e|ed|er|ers|es|ing|able|ation)(?![a-z])",
    re.IGNORECASE,
)

QUESTION_WORDS = {"what", "how", "whether", "which", "who", "whose", "where", "when", "if", "why", "whatever"}


def prose_files() -> list[Path]:
    """Every file a reader may open: code, pages, templates, docs."""
    inside = (path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".html", ".js", ".jinja", ".j2"))
    return sorted([*inside, *(ROOT / "docs").glob("*.md"), ROOT / "README.md"])


@cache
def prose_lines() -> list[tuple[str, str]]:
    """Every line with its place, without what belongs to a file format, names split into their words."""
    formats, humps = re.compile("|".join(FORMATS)), re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
    return [
        (f"{path.relative_to(ROOT)}:{number}", humps.sub(" ", formats.sub("", line).replace("_", " ")))
        for path in prose_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    ]


def fail_at(places: Sequence[str]) -> None:
    """Fail with the places, one a line, if there are any."""
    if places:
        pytest.fail("\n".join(("", *places)), pytrace=False)


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Docstrings of the module, its classes, functions and attributes, with their lines."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for index, statement in enumerate(node.body):
            is_string = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if is_string and isinstance(statement.value.value, str):
                after_value = index and isinstance(node.body[index - 1], ast.Assign | ast.AnnAssign)
                if index == 0 or after_value:
                    yield statement.lineno, statement.value.value


@pytest.mark.parametrize(("pattern", "instead"), GLOSSARY, ids=[instead for _, instead in GLOSSARY])
def test_terms_of_the_field_are_used(pattern, instead):
    wrong = [
        f'{place}: "{found[0]}" -> {instead}'
        for place, line in prose_lines()
        if (found := re.search(pattern, line, re.IGNORECASE))
    ]
    fail_at(wrong)


def test_spelling_is_american():
    wrong = [f'{place}: "{found[0]}"' for place, line in prose_lines() if (found := BRITISH.search(line))]
    fail_at(wrong)


def test_docstrings_begin_with_a_verb_or_a_noun():
    wrong = [
        f'{path.relative_to(ROOT)}:{line}: "{" ".join(text.split()[:5])} ..."'
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if text.split() and text.split()[0].strip("`,.:").lower() in QUESTION_WORDS
    ]
    fail_at(wrong)


def test_no_class_is_named_twice():
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ClassDef):
                places.setdefault(statement.name, []).append(str(path.relative_to(ROOT)))
    wrong = [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]
    fail_at(wrong)


def test_patterns_find_what_they_are_for():
    text = "the first look, hot patches, told, rooms, promised by colour and synthesiser; Contender"
    found = [pattern for pattern, _ in GLOSSARY if re.search(pattern, text, re.IGNORECASE)]
    assert len(found) == 6
    assert BRITISH.findall(text)
    assert not BRITISH.search("raise, precise, otherwise, noise, color, organized, license")
