"""Atomic file writes, folder locks, JSON and hashes: no reader ever sees a half-written file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipada.errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows has none
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends without an error.

    Parent folders are created. If the block raises or the process is killed, ``path`` stays unchanged; a temporary file
    that a killed process left behind is overwritten by the next attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield aside
        _flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def ensure_folder(folder: Path) -> Path:
    """Create a folder if it does not exist and return it.

    Raises:
        RunError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write into {folder}",
            expected="a folder, or a place for a new one",
            got=error.strerror,
            remedy="choose another --out",
        ) from error
    return folder


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process, if the system has file locks; the lock ends with the process.

    Raises:
        RunError: Another process has the lock, or the folder cannot be created.
    """
    with (ensure_folder(folder) / ".lock").open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"another process is at work in {folder}",
                    expected="one at a time",
                    remedy="wait for it, or choose another --out",
                ) from error
        yield


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8.

    Bytes of a file name that are not UTF-8 are written as escapes, which JSON can read back.
    """
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read the JSON object in ``path``; raise ``RunError`` with ``remedy`` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged", expected="JSON", got=str(error), remedy=remedy) from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged", expected="a JSON object", got=type(content).__name__, remedy=remedy)
    return content


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hash of a file's content, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Force the file's bytes to the disk: after a power loss, a rename without it can leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
