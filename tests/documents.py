"""Commands and code in the documents."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import typer.main

from clipada.cli import app

ROOT = Path(__file__).parents[1]
PROGRAMS = {".", "clipada", "curl", "hf", "make", "pip", "python3", "ray", "torchrun"}
"""First words of a command. A block whose first word is none of these shows something else, e.g. a folder."""

FENCE = re.compile(r"^ *```(?P<language>.*?)\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"(?<![\w./-])clipada [a-z].*")
SPAN = re.compile(r"`(clipada [a-z][^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str

    @property
    def shell(self) -> bool:
        """True if the block may hold shell commands."""
        return self.language in ("", "bash", "console", "sh")

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, if the block begins with one; words after ``&&`` are a command of their own."""
        first = self.text.split(maxsplit=1)[0]
        return list(_commands(self.text)) if self.shell and first in PROGRAMS else []


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(found["language"].strip(), found["text"]) for found in FENCE.finditer(text)]


def mentioned(document: Path) -> Iterator[list[str]]:
    """The words of every `clipada` command in a document: in its blocks, and within its sentences."""
    for block in blocks(document):
        if block.shell:
            for found in LINE.finditer(block.text.replace("\\\n", " ")):
                yield next(_commands(found[0]))
    sentences = FENCE.sub("", document.read_text(encoding="utf-8"))
    yield from (next(_commands(found[1].replace("\n", " "))) for found in SPAN.finditer(sentences))


def unknown_words(words: list[str]) -> list[str]:
    """The command and options in the words of a `clipada` command that do not exist."""
    command: click.Command = typer.main.get_command(app)
    rest = words[1:]
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        if rest[0] not in command.commands:  # type: ignore[union-attr]
            return [rest[0]]
        command, rest = command.commands[rest[0]], rest[1:]  # type: ignore[union-attr]
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    return [word for word in (word.partition("=")[0] for word in rest) if word.startswith("--") and word not in options]


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word in ("&&", "|", "||", ";", "&"):
                yield words
                words = []
            elif word in (">", ">>", "<", "2>"):  # a file follows
                break
            else:
                words.append(word)
        if words:
            yield words
