"""The lock of a watched folder: one watch of a folder with a database, released when its process ends."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from clipada.errors import RunError
from clipada.files import fitting_name, lock_file
from clipada.history.store import History

_REMEDY = "stop that one first, or watch with another --database"


@contextmanager
def hold_watch(history: History, folder: Path) -> Iterator[None]:
    """Keep others from watching a folder with the same database, in which each image is to be inspected once.

    The lock is a file beside an SQLite database, and an advisory lock of PostgreSQL. For other databases it is a file
    in this machine's folder for temporary files, which other machines do not see.

    Raises:
        RunError: The folder is already watched with this database; the error names the process.
    """
    what = f"{folder} is already watched with {history.place}"
    key = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8)
    with history.transaction() as connection:
        engine = connection.engine
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _take(connection, int.from_bytes(key.digest(), "big", signed=True), what)
            yield
            with suppress(SQLAlchemyError):  # the server may be away: then the lock is too
                connection.execute(text("select pg_advisory_unlock_all()"))
        return
    file = engine.url.database or ""
    if engine.dialect.name == "sqlite" and (file in ("", ":memory:") or file.startswith("file:")):
        yield  # of this process alone, or a URI, whose file is not known
        return
    if engine.dialect.name == "sqlite":
        place = Path(file).absolute()
        path = place.with_name(fitting_name(f".{place.name}", f".watch-{key.hexdigest()}.lock"))
    else:
        database = hashlib.blake2b(history.place.encode(), digest_size=8).hexdigest()
        path = Path(tempfile.gettempdir(), f"clipada-watch-{database}-{key.hexdigest()}.lock")
    with lock_file(path, what, _REMEDY):
        yield


def _take(connection: Connection, key: int, what: str) -> None:
    """Take an advisory lock of PostgreSQL; raise ``RunError`` with its holder if it is taken."""
    if connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": key}):
        return
    halves = {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
    holder = connection.execute(
        text(
            "select a.pid, coalesce(a.client_addr::text, 'this machine') as place from pg_locks l"
            " join pg_stat_activity a using (pid) where l.locktype = 'advisory' and l.granted"
            " and l.classid::bigint = :high and l.objid::bigint = :low"
        ),
        halves,
    ).first()
    got = "another process" if holder is None else f"the server's process {holder.pid}, for a watch on {holder.place}"
    raise RunError(what, expected="one watch", got=got, remedy=_REMEDY)
