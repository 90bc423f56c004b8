"""Comparison of a run folder with its manifest: by hand for all files, and at load for those that are read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipada.errors import RunError
from clipada.runs.contents import CALIBRATION, CHECKED_BY_READER, EXPORTS, deciding_files
from clipada.runs.manifest import Manifest, SealedFile

if TYPE_CHECKING:
    from clipada.runs.description import Run

log = logging.getLogger(__name__)

State = Literal["unchanged", "changed", "missing", "added", "dangling link", "unreadable"]

_WHAT: dict[State, str] = {
    "changed": "is not the file that the run was sealed with",
    "missing": "is missing, and the run was sealed with it",
    "added": "was added after the run was sealed",
    "dangling link": "is a link to a file that is missing",
    "unreadable": "cannot be read",
}


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A file of a run beside its entry in the manifest.

    Attributes:
        name: Its name relative to the run folder.
        state: Its state.
        expected: Its entry in the manifest; ``None`` without one.
        got: Description of the file that was found, if it is not the expected one.
    """

    name: str
    state: State
    expected: SealedFile | None
    got: str = ""


def check_files(
    folder: Path, manifest: Manifest, names: Collection[str] | None = None, hashed: Collection[str] | None = None
) -> Iterator[CheckedFile]:
    """Compare files of a run folder with its manifest.

    Args:
        folder: The run folder.
        manifest: Its manifest.
        names: The files to compare; by default all that are listed or decide verdicts.
        hashed: The files whose hash is compared too, and not only their size; by default all.
    """
    for name in sorted(manifest.files.keys() | set(deciding_files(folder))) if names is None else names:
        expected = manifest.files.get(name)
        state, got = _compare(folder / name, expected, hashed is None or name in hashed)
        yield CheckedFile(name=name, state=state, expected=expected, got=got)


def require_sealed(run: Run, *names: str) -> None:
    """Check by their hashes that files of a run are those that it was sealed with; nothing if it is not sealed.

    Raises:
        RunError: One is not; the error names the file.
    """
    if run.manifest is not None:
        _refuse(run.folder, check_files(run.folder, run.manifest, names))


def require_all_sealed(run: Run, *, exports: bool = True) -> None:
    """Check by their hashes all files that decide a run's verdicts, without its exports if these are not needed.

    Raises:
        RunError: A file was changed, removed or added; the error names it.
    """
    if run.manifest is not None:
        names = run.manifest.files.keys() | set(deciding_files(run.folder))
        require_sealed(run, *(name for name in sorted(names) if exports or not name.startswith(f"{EXPORTS}/")))


def require_complete(run: Run) -> None:
    """Check before a model is loaded that the files of a run are those that it was sealed with, or warn if it is not.

    Sizes of all files are compared, and hashes of those that are not left to their readers, which call
    ``require_sealed``. The calibration is left to its reader in all.

    Raises:
        RunError: A file was changed, removed or added; the error names it.
    """
    if run.manifest is None:
        _warn_unsealed(run.folder.absolute(), run.name)
        return
    listed = (run.manifest.files.keys() | set(deciding_files(run.folder))) - {CALIBRATION}
    readers = set(deciding_files(run.folder, CHECKED_BY_READER))
    _refuse(run.folder, check_files(run.folder, run.manifest, sorted(listed), hashed=listed - readers))


@cache
def _warn_unsealed(folder: Path, name: str) -> None:
    """Warn, once in a process, that the files of a run folder cannot be checked."""
    remedy = "push it again with this version" if name else f"seal it with `clipada verify {folder} --seal`"
    log.warning("run %s is not sealed, so a changed or missing file would not be noticed: %s", name or folder, remedy)


def _refuse(folder: Path, checked: Iterator[CheckedFile]) -> None:
    """Raise a ``RunError`` for the first file that is not the sealed one."""
    for one in checked:
        if one.state != "unchanged":
            expected = "no such file" if one.expected is None else str(one.expected)
            what = f"{folder / one.name} {_WHAT[one.state]}"
            raise RunError(what, expected=expected, got=one.got, remedy=_remedy(folder, one.name))


def _remedy(folder: Path, name: str) -> str:
    """Return what to do about a file that is not the sealed one."""
    again = "copy the whole run folder again"
    if name == CALIBRATION:
        again = "run `clipada calibrate` again"
    elif name.startswith(f"{EXPORTS}/"):
        again = "run `clipada export` again"
    return f"{again}; if you made the change, accept it with `clipada verify {folder} --seal`"


def _compare(path: Path, expected: SealedFile | None, hashed: bool) -> tuple[State, str]:
    """Return the state of a file beside its entry, and a description of what was found."""
    if path.is_symlink() and not path.exists():
        return "dangling link", f"a link to {path.readlink()}"
    if not path.exists():
        return ("missing", "no such file") if expected else ("unchanged", "")
    try:
        same, found = _matches(path, expected, hashed)
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    if same:
        return "unchanged", ""
    return "added" if expected is None else "changed", found


def _matches(path: Path, expected: SealedFile | None, hashed: bool) -> tuple[bool, str]:
    """Return True if a file is the expected one, by its size or by its hash, and a description of it."""
    size = path.stat().st_size
    if expected is None or (not hashed and size != expected.size):
        return False, f"{size:,} bytes"
    if not hashed:
        return True, ""
    found = SealedFile.of(path)
    return found == expected, str(found)
