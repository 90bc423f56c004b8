"""Tables of the history, and the migrations of older databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    case,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable
from sqlalchemy.types import TypeEngine

from clipada.errors import HistoryError
from clipada.inspection.record import COLUMNS, Field

_METADATA = MetaData()

SCHEMA = Table("clipada_schema", _METADATA, Column("version", Integer, nullable=False))

_SQL_TYPES: dict[type, TypeEngine[Any]] = {str: Text(), float: Float(), bool: Boolean()}


def _column(field: Field) -> Column[Any]:
    """Return the column of a verdict's field."""
    kind = _SQL_TYPES[field.kind] if field.length is None else String(field.length)
    return Column(field.name, kind, nullable=field.optional, index=field.indexed or None)


VERDICTS = Table(
    "verdicts",
    _METADATA,
    Column("id", Integer, primary_key=True),
    *map(_column, COLUMNS),
    Column("kept", Text),
    Column("record", JSON, nullable=False),
)
"""One row for each verdict: the fields to search by in columns, the whole JSON line of `predict` in ``record``."""

FEEDBACK = Table(
    "feedback",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("verdict_id", Integer, ForeignKey("verdicts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("time", String(40), nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

DELIVERIES = Table(
    "deliveries",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("verdict_id", Integer, ForeignKey("verdicts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("sink", String(255), nullable=False, index=True),
    Column("name", String(32), nullable=False),
)
"""One row for each verdict that a sink has not accepted yet; its ``name`` is the same for all attempts."""

SINKS = Table(
    "sinks",
    _METADATA,
    Column("sink", String(255), primary_key=True),
    Column("owner", String(32)),
    Column("until", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("error", Text),
)
"""One row for each sink: the process that delivers to it, the end of its lease in seconds since the epoch, the number
of failed attempts in a row, and the last error."""

WATCHED = Table(
    "watched",
    _METADATA,
    Column("file", String(64), primary_key=True),
    Column("folder", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("time", String(40), nullable=False, index=True),
    Column("error", Text),
)
"""One row for each file of a watched folder that was inspected or unreadable: hash of its path, and its state."""

DRIFT = Table(
    "drift",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("model_sha256", String(64), nullable=False),
    Column("calibration", String(12), nullable=False, index=True),
    Column("beginning", Integer, nullable=False),
    Column("upto", Integer, nullable=False),
    Column("state", JSON),
)
"""State of the drift watch after verdict ``upto``. ``beginning`` counts the restarts of the watch; the last row of the
highest ``beginning`` is the valid one."""


Migration = Callable[[Connection], None]
"""The step from one version of the schema to the next."""


def _creation(*tables: Table) -> Migration:
    """Return the step that creates tables and their indexes where they are missing."""

    def create(connection: Connection) -> None:
        for table in tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=str):
                connection.execute(CreateIndex(index, if_not_exists=True))

    return create


def _addition(*columns: Column[Any]) -> Migration:
    """Return the step that adds columns to ``VERDICTS`` where they are missing."""

    def add(connection: Connection) -> None:
        known = {column["name"] for column in inspect(connection).get_columns(VERDICTS.name)}
        for column in columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {VERDICTS.name} ADD COLUMN {definition}"))

    return add


def _add_decisions(connection: Connection) -> None:
    """Add the columns of the input check; older verdicts are good or defective, as there was no input check."""
    _addition(VERDICTS.c.decision, VERDICTS.c.input_reason)(connection)
    old = VERDICTS.c.decision.is_(None), VERDICTS.c.defective.is_not(None)
    word = case((VERDICTS.c.defective.is_(True), "defective"), else_="good")
    connection.execute(update(VERDICTS).where(*old).values(decision=word))


MIGRATIONS: tuple[Migration, ...] = (
    _creation(VERDICTS, FEEDBACK),
    _creation(DELIVERIES, SINKS, WATCHED, DRIFT),
    _add_decisions,
    _addition(VERDICTS.c.manifest_sha256),
)
"""Steps from each version of the schema to the next, from an empty database on. A new column of ``VERDICTS`` needs one
that adds it to older databases: the first step creates the table as it is defined now."""


_LOCK = 0x636C6970
"""Key of the advisory lock that one process at a time holds while it migrates a PostgreSQL database: "clip"."""


def migrate(connection: Connection, place: str, *, create: bool = True) -> None:
    """Migrate a database to the present schema. Of several processes, one migrates and the others wait.

    Args:
        connection: A connection, in a transaction without statements.
        place: Name of the database in errors.
        create: True to create the tables of an empty database. A database of the present schema is only read.

    Raises:
        HistoryError: A newer version of clipada has written it, or it is empty and ``create`` is False.
    """
    found = _version(connection)
    if found == 0 and not create:
        raise HistoryError(f"no history in {place}", remedy="pass the one that `predict --database` wrote")
    if found > len(MIGRATIONS):
        raise HistoryError(
            "the history was written by a newer clipada",
            expected=f"schema {len(MIGRATIONS)} or older",
            got=f"schema {found}",
            remedy="use that version, or another database",
        )
    if found == len(MIGRATIONS):
        return
    _lock(connection)
    connection.execute(CreateTable(SCHEMA, if_not_exists=True))
    found = _version(connection)
    for version, step in enumerate(MIGRATIONS[found:], start=found + 1):
        step(connection)
        connection.execute(insert(SCHEMA).values(version=version))


def _version(connection: Connection) -> int:
    """Return the version of a database's schema, 0 for an empty database."""
    if not inspect(connection).has_table(SCHEMA.name):
        return 0
    return connection.scalar(select(func.max(SCHEMA.c.version))) or 0


def _lock(connection: Connection) -> None:
    """Wait until no other process migrates the database; the lock ends with the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # sqlite3 begins a transaction only before INSERT and its like
