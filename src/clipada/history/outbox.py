"""The outbox: which verdicts which sink has not taken yet, in the history's database beside the verdicts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from clipada.history.tables import DELIVERIES, SINKS, VERDICTS


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A verdict on its way to a sink.

    Attributes:
        id: Its place in the queue.
        verdict_id: The verdict's number in the history.
        name: What tells it from all other deliveries of all histories; the same at every attempt.
        record: The verdict, as ``predict`` prints it.
    """

    id: int
    verdict_id: int
    name: str
    record: dict[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """What a sink is told: the record, after the verdict's number and the delivery's name."""
        return {"delivery": self.name, "id": self.verdict_id, **self.record}


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits for a sink.

    Attributes:
        sink: Its name.
        verdicts: How many verdicts wait.
        oldest: When the first of them was given, in UTC, ISO 8601.
        failures: Failed attempts in a row.
        error: Why the last one failed.
    """

    sink: str
    verdicts: int
    oldest: str
    failures: int
    error: str | None


def queue(connection: Connection, verdict_ids: Sequence[int], sinks: Iterable[str]) -> None:
    """Queue verdicts for sinks, in the transaction that stores them."""
    rows = [{"verdict_id": number, "sink": sink, "name": uuid.uuid4().hex} for sink in sinks for number in verdict_ids]
    if rows:
        connection.execute(insert(DELIVERIES), rows)


def queued(connection: Connection, sink: str, limit: int) -> list[Delivery]:
    """What waits longest for a sink, at most so much, in the order it was stored."""
    columns = (DELIVERIES.c.id, DELIVERIES.c.verdict_id, DELIVERIES.c.name, VERDICTS.c.record)
    joined = DELIVERIES.join(VERDICTS, VERDICTS.c.id == DELIVERIES.c.verdict_id)
    query = select(*columns).select_from(joined).where(DELIVERIES.c.sink == sink).order_by(DELIVERIES.c.id)
    return [Delivery(**row._mapping) for row in connection.execute(query.limit(limit))]


def delivered(connection: Connection, delivery: Delivery) -> None:
    """Strike out what its sink has taken."""
    this = (DELIVERIES.c.id == delivery.id, DELIVERIES.c.name == delivery.name)  # SQLite gives numbers again
    connection.execute(delete(DELIVERIES).where(*this))


def abandon(connection: Connection, sink: str, limit: int | None = None) -> int:
    """Strike out what waits for a sink, or only so much of it, the oldest first; return how much that was."""
    ids = select(DELIVERIES.c.id).where(DELIVERIES.c.sink == sink).order_by(DELIVERIES.c.id).limit(limit)
    found = list(connection.scalars(ids))
    for start in range(0, len(found), 500):
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(found[start : start + 500])))
    return len(found)


def claim(connection: Connection, sink: str, owner: str, now: float, until: float) -> bool:
    """Take or keep the right to deliver to a sink until a time; whether nobody else has it."""
    free = or_(SINKS.c.owner.is_(None), SINKS.c.owner == owner, SINKS.c.until < now)
    mine = update(SINKS).where(SINKS.c.sink == sink, free).values(owner=owner, until=until)
    if connection.execute(mine).rowcount:
        return True
    if connection.scalar(select(SINKS.c.sink).where(SINKS.c.sink == sink)) is not None:
        return False
    connection.execute(insert(SINKS).values(sink=sink, owner=owner, until=until, failures=0))
    return True


def release(connection: Connection, sink: str, owner: str) -> None:
    """Give the right to deliver back."""
    connection.execute(update(SINKS).where(SINKS.c.sink == sink, SINKS.c.owner == owner).values(owner=None))


def record_outcome(connection: Connection, sink: str, failures: int, error: str | None) -> None:
    """Keep how often in a row a sink has failed, and why the last time."""
    connection.execute(update(SINKS).where(SINKS.c.sink == sink).values(failures=failures, error=error))


def waiting(connection: Connection) -> list[Waiting]:
    """What waits, for each sink that anything waits for, by name."""
    columns = (DELIVERIES.c.sink, func.count().label("verdicts"), func.min(VERDICTS.c.time).label("oldest"))
    joined = DELIVERIES.join(VERDICTS, VERDICTS.c.id == DELIVERIES.c.verdict_id)
    counts = select(*columns).select_from(joined).group_by(DELIVERIES.c.sink).subquery()
    failures = func.coalesce(SINKS.c.failures, 0).label("failures")
    query = select(counts, failures, SINKS.c.error).select_from(counts.outerjoin(SINKS, SINKS.c.sink == counts.c.sink))
    return [Waiting(**row._mapping) for row in connection.execute(query.order_by(counts.c.sink))]
