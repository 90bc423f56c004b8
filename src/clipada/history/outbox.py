"""The outbox: for each sink, the verdicts it has not accepted yet, in the database of the history.

Queuing a verdict in the transaction that stores it guarantees that no stored verdict is missed by a sink.
"""

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
        id: Position in the queue.
        verdict_id: Id of the verdict in the history.
        name: Unique name among all deliveries of all histories; the same at every attempt.
        record: The verdict, as ``predict`` prints it.
    """

    id: int
    verdict_id: int
    name: str
    record: dict[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """The message to a sink: the delivery's name, the verdict's id, and the record."""
        return {"delivery": self.name, "id": self.verdict_id, **self.record}


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The queue of a sink.

    Attributes:
        sink: Name of the sink.
        verdicts: Number of queued verdicts.
        oldest: Time of the oldest one, in UTC, ISO 8601.
        failures: Failed attempts in a row.
        error: Error of the last attempt, if it failed.
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
    """Return the ``limit`` oldest deliveries for a sink, in the order their verdicts were stored."""
    columns = (DELIVERIES.c.id, DELIVERIES.c.verdict_id, DELIVERIES.c.name, VERDICTS.c.record)
    joined = DELIVERIES.join(VERDICTS, VERDICTS.c.id == DELIVERIES.c.verdict_id)
    query = select(*columns).select_from(joined).where(DELIVERIES.c.sink == sink).order_by(DELIVERIES.c.id)
    return [Delivery(**row._mapping) for row in connection.execute(query.limit(limit))]


def remove(connection: Connection, delivery: Delivery) -> None:
    """Remove a delivery that its sink has accepted."""
    this = (DELIVERIES.c.id == delivery.id, DELIVERIES.c.name == delivery.name)  # the name too, as SQLite reuses ids
    connection.execute(delete(DELIVERIES).where(*this))


def abandon(connection: Connection, sink: str, limit: int | None = None) -> int:
    """Remove the deliveries for a sink, at most ``limit`` and the oldest first; return their number."""
    ids = select(DELIVERIES.c.id).where(DELIVERIES.c.sink == sink).order_by(DELIVERIES.c.id).limit(limit)
    found = list(connection.scalars(ids))
    for start in range(0, len(found), 500):
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(found[start : start + 500])))
    return len(found)


def claim(connection: Connection, sink: str, owner: str, now: float, until: float) -> bool:
    """Take or renew the lease on a sink until a time; return False if another owner holds it."""
    free = or_(SINKS.c.owner.is_(None), SINKS.c.owner == owner, SINKS.c.until < now)
    mine = update(SINKS).where(SINKS.c.sink == sink, free).values(owner=owner, until=until)
    if connection.execute(mine).rowcount:
        return True
    if connection.scalar(select(SINKS.c.sink).where(SINKS.c.sink == sink)) is not None:
        return False
    connection.execute(insert(SINKS).values(sink=sink, owner=owner, until=until, failures=0))
    return True


def release(connection: Connection, sink: str, owner: str) -> None:
    """Give up the lease on a sink."""
    connection.execute(update(SINKS).where(SINKS.c.sink == sink, SINKS.c.owner == owner).values(owner=None))


def record_attempt(connection: Connection, sink: str, failures: int, error: str | None) -> None:
    """Record the number of failed attempts in a row, and the error of the last one."""
    connection.execute(update(SINKS).where(SINKS.c.sink == sink).values(failures=failures, error=error))


def waiting(connection: Connection) -> list[Waiting]:
    """Return the queue of each sink that has one, sorted by name."""
    columns = (DELIVERIES.c.sink, func.count().label("verdicts"), func.min(VERDICTS.c.time).label("oldest"))
    joined = DELIVERIES.join(VERDICTS, VERDICTS.c.id == DELIVERIES.c.verdict_id)
    counts = select(*columns).select_from(joined).group_by(DELIVERIES.c.sink).subquery()
    failures = func.coalesce(SINKS.c.failures, 0).label("failures")
    query = select(counts, failures, SINKS.c.error).select_from(counts.outerjoin(SINKS, SINKS.c.sink == counts.c.sink))
    return [Waiting(**row._mapping) for row in connection.execute(query.order_by(counts.c.sink))]
