"""The database of a history: opened from a URL, without its secrets in any message."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, make_url
from sqlalchemy.exc import NoSuchModuleError, SAWarning, SQLAlchemyError

from clipada.errors import HistoryError
from clipada.history.tables import SINKS, migrate

PROBE_BYTES = 16_384
"""Bytes that ``check_writable`` writes: about the size of the longest usual verdict."""

_HARMLESS = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "timeout", "connect_timeout", "mode", "uri", "cache", "sslmode"}
    | {"application_name", "target_session_attrs", "charset", "service", "check_same_thread", "immutable"}
)
"""Query parameters of database URLs whose values may appear in an error; any other one may be a secret."""


class Database:
    """A database of verdicts, with the tables of the history.

    Args:
        url: A database URL as SQLAlchemy reads it.
        create: True to create the tables, and an SQLite file, where they are missing.

    Attributes:
        place: The URL without password and query string, for messages.

    Raises:
        HistoryError: The URL cannot be used, the database cannot be reached, its driver is missing, there is no history
            in it and ``create`` is False, or a newer version of clipada has written it.
    """

    def __init__(self, url: str, *, create: bool) -> None:
        parsed, self.place, self._engine = _opened(url)
        self._secrets = _secrets(parsed)
        self._file: Path | None = None
        self._identity: tuple[int, int] | None = None
        self._connect(parsed, create)
        with self.transaction() as connection:
            migrate(connection, self.place, create=create)
        self._identity = self._found_identity()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction.

        Raises:
            HistoryError: The database cannot be used, or its file was removed or replaced: verdicts in a removed file
                would be lost.
        """
        self._check_file()
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._unusable(getattr(error, "orig", None) or error) from error
        self._check_file()

    def check_writable(self) -> None:
        """Write as many bytes as a verdict has and delete them again, on the disk.

        Raises:
            HistoryError: The database accepts no verdicts: it is away, read-only, or its disk is full.
        """
        key = f"readiness {secrets.token_hex(16)}"
        text = secrets.token_hex(PROBE_BYTES // 2)  # random, as databases compress
        with self.transaction() as connection:
            connection.execute(insert(SINKS).values(sink=key, until=0.0, failures=0, error=text))
            connection.execute(delete(SINKS).where(SINKS.c.sink == key))

    def _connect(self, url: URL, create: bool) -> None:
        """Connect for the first time, so that a part of the URL that the driver refuses becomes an error of ours."""
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _durable)
        try:
            if self._engine.dialect.name == "sqlite" and url.database and url.database != ":memory:":
                self._file = Path(url.database).absolute()
                if not create and not self._file.is_file() and "uri" not in url.query:
                    remedy = "pass the one that `predict --database` wrote"
                    raise HistoryError(f"no history in {url.database}", remedy=remedy)
            with self._engine.connect():
                pass
        except SQLAlchemyError as error:
            raise self._unusable(getattr(error, "orig", None) or error) from error
        except HistoryError:
            raise
        except Exception as error:  # drivers raise errors of any type for parts of a URL
            raise self._unusable(error) from None

    def _unusable(self, error: BaseException) -> HistoryError:
        text = str(error).strip() or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return HistoryError(f"the history in {self.place} cannot be used", got=text)

    def _check_file(self) -> None:
        if self._identity is not None and self._found_identity() != self._identity:
            raise HistoryError(
                f"the history in {self.place} cannot be used",
                expected="the file that was opened",
                got="it was removed or replaced",
                remedy="restore the file and start again",
            )

    def _found_identity(self) -> tuple[int, int] | None:
        """Return device and inode of the file of an SQLite database; ``None`` for another database."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return None
        return status and (status.st_dev, status.st_ino)


def _opened(text: str) -> tuple[URL, str, Engine]:
    """Return the URL of a database, its name for messages, and its engine.

    Errors do not quote the URL, since it may contain a password.
    """
    got, remedy = "text that is no such URL", None
    try:
        url = make_url(text)
        got = f"a URL that {url.drivername} cannot use"
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # parameters that the driver does not know
            return url, url.set(query={}).render_as_string(hide_password=True), create_engine(url)
    except ModuleNotFoundError as error:
        got = f"no Python module {error.name}"
        if (error.name or "").startswith("psycopg"):
            remedy = "pip install 'psycopg[binary]', and begin the URL with postgresql+psycopg://"
    except NoSuchModuleError:
        got = f"a URL of {url.drivername}, which is no known database"
    except Exception:  # noqa: S110 - SQLAlchemy and drivers raise errors of any type for a URL that they cannot use
        pass
    raise HistoryError(
        "the history has no such database",
        expected="a URL such as sqlite:///history.db or postgresql+psycopg://user@host/name",
        got=got,
        remedy=remedy,
    )


def _secrets(url: URL) -> list[str]:
    """Return the parts of a URL that no message may contain, in all spellings, the longest first."""
    found = {str(url.password)} if url.password else set()
    for name, value in url.query.items():
        if name not in _HARMLESS:
            found |= {value} if isinstance(value, str) else set(value)
    spellings = {spelling(secret, safe="") for secret in found for spelling in (quote, quote_plus)}
    return sorted(filter(None, found | spellings), key=len, reverse=True)


def _durable(connection: Any, _: object) -> None:
    """Configure SQLite: writers wait for each other, readers never wait, and a commit survives a power cut."""
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
