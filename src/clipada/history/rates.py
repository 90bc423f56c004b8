"""How many parts were called defective, minute by minute, hour by hour or day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import case, func, literal_column, select

from clipada.history.store import History
from clipada.history.tables import VERDICTS

Step = Literal["minute", "hour", "day"]

SPANS: dict[Step, timedelta] = {"minute": timedelta(hours=1), "hour": timedelta(days=2), "day": timedelta(days=60)}
"""How far back each goes."""

_DIGITS: dict[Step, int] = {"minute": 16, "hour": 13, "day": 10}
"""Of a verdict's time, ``2026-03-02T07:14:05.120+00:00``, how much tells the step."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What became of the parts of one step.

    Attributes:
        time: When it began, in UTC, ISO 8601.
        inspected: The number of parts.
        judged: How many of them were called good or defective; the others had no calibration.
        defective: How many were called defective.
    """

    time: str
    inspected: int
    judged: int
    defective: int


def rates(history: History, step: Step, model_sha256: str | None = None, now: datetime | None = None) -> list[Rate]:
    """The steps up to now that parts were inspected in, oldest first.

    Args:
        history: Where verdicts are stored.
        step: How long each is; it also says how far back to go.
        model_sha256: Only this model's verdicts.
        now: The end, by default the present time.

    Raises:
        HistoryError: The database cannot be used.
    """
    since = _begun((now or datetime.now(UTC)) - SPANS[step], step)
    began = func.substr(VERDICTS.c.time, literal_column("1"), literal_column(str(_DIGITS[step]))).label("began")
    defective = func.sum(case((VERDICTS.c.defective.is_(True), 1), else_=0))
    query = select(began, func.count(), func.count(VERDICTS.c.defective), defective).where(VERDICTS.c.time > since)
    if model_sha256 is not None:
        query = query.where(VERDICTS.c.model_sha256 == model_sha256)
    with history.transaction() as connection:
        rows = connection.execute(query.group_by("began").order_by("began")).all()
    return [Rate(time=_whole(row[0]), inspected=row[1], judged=row[2], defective=int(row[3])) for row in rows]


def _begun(time: datetime, step: Step) -> str:
    """The digits that verdicts of the step of a time begin with."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[: _DIGITS[step]]


def _whole(began: str) -> str:
    """The beginning of a step as a time."""
    return began + "0000-00-00T00:00:00.000+00:00"[len(began) :]
