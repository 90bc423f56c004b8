"""The history's tables, and how an older database is brought up to them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Executable,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from clipada.errors import HistoryError

_METADATA = MetaData()

SCHEMA = Table("clipada_schema", _METADATA, Column("version", Integer, nullable=False))

VERDICTS = Table(
    "verdicts",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("time", String(40), nullable=False, index=True),
    Column("path", Text),
    Column("run", Text),
    Column("score", Float, nullable=False),
    Column("p_value", Float),
    Column("score_threshold", Float),
    Column("defective", Boolean),
    Column("group_name", Text),
    Column("calibration", String(12)),
    Column("model_sha256", String(64)),
    Column("image_sha256", String(64), nullable=False, index=True),
    Column("kept", Text),
    Column("record", JSON, nullable=False),
)
"""One row a verdict: what is searched for in columns, the whole of it as `predict` prints it in ``record``."""

FEEDBACK = Table(
    "feedback",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("verdict_id", Integer, ForeignKey("verdicts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("time", String(40), nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

MIGRATIONS: tuple[tuple[Executable, ...], ...] = (
    (
        CreateTable(VERDICTS, if_not_exists=True),
        CreateTable(FEEDBACK, if_not_exists=True),
        *(
            CreateIndex(index, if_not_exists=True)
            for table in (VERDICTS, FEEDBACK)
            for index in sorted(table.indexes, key=str)
        ),
    ),
)
"""The statements that lead from each version of the schema to the next, from an empty database on."""


def migrate(connection: Connection) -> None:
    """Bring a database up to the present schema.

    Raises:
        HistoryError: It was written by a newer version of clipada.
    """
    connection.execute(CreateTable(SCHEMA, if_not_exists=True))
    found = connection.scalar(select(func.max(SCHEMA.c.version))) or 0
    if found > len(MIGRATIONS):
        raise HistoryError(
            "the history was written by a newer clipada",
            expected=f"schema {len(MIGRATIONS)} or older",
            got=f"schema {found}",
            remedy="use that version, or another database",
        )
    for version, statements in enumerate(MIGRATIONS[found:], start=found + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(insert(SCHEMA).values(version=version))
