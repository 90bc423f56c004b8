"""The help texts: groups of commands, and an example for each command that the command line accepts."""

import shlex
import shutil
import subprocess
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
