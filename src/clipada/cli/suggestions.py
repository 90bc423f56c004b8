"""Suggestions for misspelled options and values, in the words of the errors for bad input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from clipada.errors import did_you_mean

_CHOICE = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<known>'.*')\.")


class SuggestingGroup(TyperGroup):
    """Commands whose errors name the option or the value that was probably meant."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse the options before a command."""
        with _suggesting():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the words of a command, and run it."""
        with _suggesting():
            return super().invoke(ctx)


@contextmanager
def _suggesting() -> Iterator[None]:
    """Complete the messages of usage errors that leave the block."""
    try:
        yield
    except Exception as error:
        _suggest(error)
        raise


def _suggest(error: Any) -> None:
    """Complete the message of a usage error; others stay as they are.

    Typer keeps the classes of these errors to itself: they are known by their attributes.
    """
    if hasattr(error, "possibilities") and error.ctx is not None:  # no such option
        remedy = did_you_mean(error.option_name, _options(error.ctx.command))
        error.possibilities = None
        error.message = _completed(f"No such option: {error.option_name}.", remedy)
    elif isinstance(error, typer.BadParameter) and (found := _CHOICE.fullmatch(error.message)):
        known = found["known"].strip("'").split("', '")
        text = f"'{found['given']}' is not one of {found['known']}."
        error.message = _completed(text, did_you_mean(found["given"], known))


def _options(command: Any) -> list[str]:
    """List the long options of a command."""
    named = (name for one in command.params for name in (*one.opts, *one.secondary_opts))
    return ["--help", *(name for name in named if name.startswith("--"))]


def _completed(text: str, remedy: str | None) -> str:
    return text if remedy is None else f"{text} {remedy[0].upper()}{remedy[1:]}"
