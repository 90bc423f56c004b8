"""The help texts: groups of commands, and an example for each command that the command line accepts."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from clipada.cli import GROUPS, app
from command_line import Command

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_commands_are_shown_in_groups(clipada: Command) -> None:
    shown = clipada("--help")
    assert shown.code == 0
    for group in GROUPS:
        assert f"─ {group} ─" in shown.out
    for name in COMMANDS:
        assert f"│ {name} " in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_itself(clipada: Command, name: str) -> None:
    """The example's options exist: the parser takes them."""
    shown = clipada(name, "--help")
    assert shown.code == 0
    text = " ".join(shown.out.split())
    _, found, example = text.partition("Example: ")
    assert found, shown.out
    words = shlex.split(example)
    assert words[:2] == ["clipada", name]
    context = typer.main.get_command(app).make_context("clipada", ["--help"], resilient_parsing=True)
    command = COMMANDS[name]
    arguments = words[2:]
    if hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments, parent=context)  # raises for an unknown option


@pytest.mark.parametrize("name", COMMANDS["history"].commands)
def test_every_subcommand_of_history_shows_an_example_of_itself(clipada: Command, name: str) -> None:
    shown = clipada("history", name, "--help")
    _, found, example = " ".join(shown.out.split()).partition("Example: ")
    assert found, shown.out
    words = shlex.split(example)
    assert words[:3] == ["clipada", "history", name]
    COMMANDS["history"].commands[name].make_context(name, words[3:])  # raises for an unknown option


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not run from a clone")
def test_the_version_of_a_clone_names_its_commit(clipada: Command) -> None:
    told = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    shown = clipada("--version")
    version, _, commit = shown.out.strip().partition(" (commit ")
    assert version.startswith("clipada 0.")
    assert told.stdout.startswith(commit.rstrip(")").removesuffix("-dirty"))
    assert len(commit) >= 7


@pytest.mark.parametrize("name", ["predict", "history"])
def test_the_short_option_of_help(clipada: Command, name: str) -> None:
    assert clipada("-h").out == clipada("--help").out
    assert clipada(name, "-h").out == clipada(name, "--help").out


def test_help_imports_nothing_that_computes() -> None:
    """The help text must be there at once; PyTorch takes seconds to import, NumPy a tenth of one."""
    slow = ("torch", "numpy", "PIL", "onnxruntime", "transformers", "sqlalchemy", "huggingface_hub")
    code = f"import sys, clipada.cli; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("shell", "typed", "expected"),
    [
        ("bash", "clipada pre", "predict"),
        ("zsh", "clipada train --set memory.ro", "memory.rows="),
        ("fish", "clipada train --preset q", "quick"),
    ],
)
def test_the_tab_key_completes(shell: str, typed: str, expected: str) -> None:
    given = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_TYPER_COMPLETE_ARGS": typed}
    env = os.environ | given | {"_CLIPADA_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run([clipada_program()], env=env, capture_output=True, text=True, check=False)
    assert expected in done.stdout, done.stderr


def test_completion_is_installed_where_the_shell_reads_it(tmp_path: Path) -> None:
    env = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run([clipada_program(), "--install-completion", "bash"], env=env, capture_output=True, check=True)
    script = tmp_path / ".bash_completions" / "clipada.sh"
    assert "_CLIPADA_COMPLETE" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def clipada_program() -> str:
    """The program as it is installed beside the interpreter."""
    return str(Path(sys.executable).with_name("clipada"))
