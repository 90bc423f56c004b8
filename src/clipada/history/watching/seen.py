"""Records of the inspected files of watched folders, in the database of the history.

They are stored in the transaction of their verdicts, so that each file is inspected once, over restarts too.
"""

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
    """State of a file at one time. A file whose size or time of change differs is a new image.

    Attributes:
        path: Absolute path.
        size: Size in bytes.
        mtime_ns: Time of the last change, in nanoseconds of its file system's clock.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, stat: os.stat_result) -> Stamp:
        """Return the stamp of a file, from its present ``stat``."""
        return cls(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns)

    @property
    def file(self) -> str:
        """Hash of the path, the key in the database: a path may be long, and not valid text."""
        return _hash(self.path)


def unseen(connection: Connection, stamps: Sequence[Stamp]) -> list[Stamp]:
    """Return the stamps that were not inspected in this state, in order; pass at most a few hundred at a time."""
    columns = (WATCHED.c.file, WATCHED.c.size, WATCHED.c.mtime_ns)
    query = select(*columns).where(WATCHED.c.file.in_([stamp.file for stamp in stamps]))
    known = {tuple(row) for row in connection.execute(query)}
    return [stamp for stamp in stamps if (stamp.file, stamp.size, stamp.mtime_ns) not in known]


def remember(connection: Connection, folder: Path, stamps: Iterable[tuple[Stamp, str | None]]) -> None:
    """Record files of a watched folder as inspected, each with its error if it was unreadable."""
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
    """Delete the rows of files seen before a time that no longer exist, if their watched folder is not empty.

    An empty folder may be a network share that is not mounted: its files would be inspected again.
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
    """Return True if the file no longer exists; False for a path that is not valid text, as it cannot be checked."""
    return _hash(path) == file and not path.exists()


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _text(path: Path) -> str:
    """Return a path as text for the database: bytes that are not valid text become escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
