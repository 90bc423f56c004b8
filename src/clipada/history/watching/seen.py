"""Which files of watched folders were inspected already, kept in the history's database beside their verdicts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from clipada.history.tables import WATCHED


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A file as it was at one time; another size or time of change makes it another image.

    Attributes:
        path: Its absolute path.
        size: In bytes.
        mtime_ns: When it was last changed, in nanoseconds of its file system's clock.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, stat: os.stat_result) -> Stamp:
        """The file's present stamp."""
        return cls(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns)

    @property
    def file(self) -> str:
        """The hash of its path, under which it is remembered: a path may be no text, and long."""
        return _hash(self.path)


def unseen(connection: Connection, stamps: Sequence[Stamp]) -> list[Stamp]:
    """Those that were not inspected as they are now, in order. At most a few hundred at a time."""
    columns = (WATCHED.c.file, WATCHED.c.size, WATCHED.c.mtime_ns)
    query = select(*columns).where(WATCHED.c.file.in_([stamp.file for stamp in stamps]))
    known = {tuple(row) for row in connection.execute(query)}
    return [stamp for stamp in stamps if (stamp.file, stamp.size, stamp.mtime_ns) not in known]


def remember(connection: Connection, folder: Path, stamps: Iterable[tuple[Stamp, str | None]]) -> None:
    """Remember files of a watched folder as inspected, each with why it could not be, if so."""
    rows = [
        {
            "file": stamp.file,
            "folder": _text(folder),
            "path": _text(stamp.path),
            "size": stamp.size,
            "mtime_ns": stamp.mtime_ns,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "error": error,
        }
        for stamp, error in stamps
    ]
    if rows:
        connection.execute(delete(WATCHED).where(WATCHED.c.file.in_([row["file"] for row in rows])))
        connection.execute(insert(WATCHED), rows)


def forget(connection: Connection, before: str) -> None:
    """Forget files seen before a time that are gone from a watched folder which itself is there and not empty.

    An empty folder may be a network share that is not mounted: what was inspected on it would be inspected again.
    """
    query = select(WATCHED.c.file, WATCHED.c.folder, WATCHED.c.path).where(WATCHED.c.time < before)
    rows = connection.execute(query).all()
    there = {folder for folder in {row.folder for row in rows} if _holds_something(Path(folder))}
    gone = [row.file for row in rows if row.folder in there and _is_gone(Path(row.path), row.file)]
    for start in range(0, len(gone), 500):
        connection.execute(delete(WATCHED).where(WATCHED.c.file.in_(gone[start : start + 500])))


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _is_gone(path: Path, file: str) -> bool:
    """Whether there is no such file any more; a path that was no text cannot be looked for, and may be there."""
    return _hash(path) == file and not path.exists()


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _text(path: Path) -> str:
    """A path as a database takes it: bytes that are no text as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
