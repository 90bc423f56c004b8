"""Nothing is ever half-written: files are written aside, then renamed."""

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
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it into place when the block ends without an error.

    The parent folders are made. A block that raises, or a process that is killed, leaves ``path`` as it was; what a
    kill leaves of the temporary file is overwritten by the next attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield aside
        _flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def made_folder(folder: Path) -> Path:
    """The folder to write into, made if need be.

    Raises:
        RunError: It cannot be made.
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
def held(folder: Path) -> Iterator[None]:
    """Keep a folder to this process, where the system has locks; a kill gives it free.

    Raises:
        RunError: Another process holds it, or it cannot be made.
    """
    with (made_folder(folder) / ".lock").open("w") as file:
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

    Bytes of a file name that are no UTF-8 are written as escapes that JSON reads back.
    """
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read the JSON object in ``path``; raises ``RunError`` with ``remedy`` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged", expected="JSON", got=str(error), remedy=remedy) from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged", expected="a JSON object", got=type(content).__name__, remedy=remedy)
    return content


def sha256_of(path: Path) -> str:
    """The hash of a file's content, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Bring the file's bytes to the disk before the rename makes them visible."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
