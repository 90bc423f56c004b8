"""Errors for bad input, each with four parts: the failure, the expectation, the finding and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ClipAdaError(Exception):
    """Base of every error this package raises for bad input.

    Args:
        what: The failure and its place, e.g. ``"cannot read image part.png"``.
        expected: The input that would have been accepted.
        got: The input that was found instead.
        remedy: The action that solves the problem.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.remedy = remedy
        parts = {"expected": expected, "got": got, "remedy": remedy}
        super().__init__("\n".join([what, *(f"  {name}: {text}" for name, text in parts.items() if text)]))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.got, self.remedy)


def _rebuild(
    kind: type[ClipAdaError], what: str, expected: str | None, got: str | None, remedy: str | None
) -> ClipAdaError:
    """Rebuild a pickled error with all its parts: exceptions drop keyword arguments between processes."""
    return kind(what, expected=expected, got=got, remedy=remedy)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the remedy for a misspelled word: the known one that is most like it, in upper or lower case.

    Returns:
        A question that names it; ``None`` if no known word is similar.
    """
    found = nearest(word, known)
    return None if found is None else f"did you mean {found}?"


def check_name(path: Path) -> str:
    """Return the remedy for a wrong path: a near name beside the part that does not exist, else to check the name."""
    missing = next((one for one in (*reversed(path.parents), path) if not one.exists()), None)
    if missing is not None and (near := nearest(missing.name, _names_in(missing.parent))) is not None:
        return f"did you mean {missing.with_name(near) / path.relative_to(missing)}?"
    return "check the name" + ("" if path.is_absolute() else f"; it is relative to {Path.cwd()}")


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like another one, if any is similar."""
    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[found[0]] if found else None


class ImageError(ClipAdaError):
    """Image or mask file that is missing, damaged, or of a kind that cannot be inspected."""


class ImageKindError(ImageError):
    """File that is not an image of a supported format."""


class ImageSizeError(ImageError):
    """Image with more pixels than are decoded."""


class AlignmentError(ImageError):
    """Image that does not fit the reference of its product."""


class DatasetError(ClipAdaError):
    """Folder without a data set that can be used as requested."""


class ConfigError(ClipAdaError):
    """Setting that is out of range or contradicts another."""


class BackboneError(ClipAdaError):
    """Backbone checkpoint that cannot be found or loaded, or is not the one a run was trained with."""


class RunError(ClipAdaError):
    """Run folder that is missing, unfinished, damaged, or in the way."""


class HistoryError(ClipAdaError):
    """Database of verdicts that cannot be used as requested."""


class SinkError(ClipAdaError):
    """Sink that cannot be used as requested, or that did not accept a verdict."""


class CalibrationError(ClipAdaError):
    """Calibration that cannot give the requested guarantee, is damaged, or belongs to another model."""
