"""Meanings of settings, read from the notes beneath the fields of their dataclasses."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, get_type_hints

from clipada.config.schema import type_name


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One field of a dataclass of settings.

    Attributes:
        name: Its dotted name below the dataclass.
        kind: Its type, or the values that it may have, in words.
        default: Its default.
        text: Its meaning.
    """

    name: str
    kind: str
    default: Any
    text: str


def meanings(settings: Any, where: str = "") -> Iterator[Meaning]:
    """Yield the fields of a dataclass of settings, and of those inside it, in order.

    Args:
        settings: The settings, with the values that are given as defaults.
        where: A prefix of the names, e.g. ``"memory."``.
    """
    hints, notes = get_type_hints(type(settings)), _notes(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from meanings(value, f"{where}{field.name}.")
        else:
            kind = type_name(hints[field.name])
            yield Meaning(name=where + field.name, kind=kind, default=value, text=notes.get(field.name, ""))


def written(value: Any) -> str:
    """Return a value as ``--set`` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(kind: type) -> dict[str, str]:
    """Return the text beneath each field of a class and of its bases, in one line each."""
    notes: dict[str, str] = {}
    for one in reversed([base for base in kind.__mro__ if is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        for field, note in pairwise(getattr(body, "body", [])):
            is_note = isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
            if is_note and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                notes[field.target.id] = " ".join(str(note.value.value).replace("``", "`").split())
    return notes
