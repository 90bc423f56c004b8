"""Open a history of verdicts: list, feedback, export, pruning, deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clipada.config import HistoryConfig
from clipada.errors import ConfigError
from clipada.history.store import History


def open_history(database: str = HistoryConfig.database, *, create: bool = False) -> History:
    """Open the database that ``predict``, ``watch`` and ``serve`` store verdicts in; to be used in a ``with`` block.

    Args:
        database: A database URL as SQLAlchemy reads it.
        create: True to create the tables of an empty database.

    Raises:
        HistoryError: The database cannot be used, or is empty without ``create``.
    """
    return History(HistoryConfig(database=database), create=create)


def days_ago(days: int) -> datetime:
    """Return the time a number of days ago.

    Raises:
        ConfigError: It is before the year 1.
    """
    try:
        return datetime.now(UTC) - timedelta(days=days)
    except OverflowError as error:
        raise ConfigError(f"cannot use {days} days", expected="a time after the year 1") from error
