"""Numbers of defective parts, and of images that were not inspectable, by minute, hour or day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import case, func, literal_column, select

from clipada.history.store import History
from clipada.history.tables import VERDICTS

Step = Literal["minute", "hour", "day"]

SPANS: dict[Step, timedelta] = {"minute": timedelta(hours=1), "hour": timedelta(days=2), "day": timedelta(days=60)}
"""Time covered by the rates of each step."""

_DIGITS: dict[Step, int] = {"minute": 16, "hour": 13, "day": 10}
"""Leading characters of a verdict's time, ``2026-03-02T07:14:05.120+00:00``, that identify its step."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Numbers of parts in one step.

    Attributes:
        time: Start of the step, in UTC, ISO 8601.
        inspected: Number of parts.
        judged: Number of parts that were called good or defective; the others had no calibration, or their images were
            not inspectable.
        defective: Number of defective parts.
        not_inspectable: Number of images that were not inspectable; they have no decision.
    """

    time: str
    inspected: int
    judged: int
    defective: int
    not_inspectable: int = 0


def rates(history: History, step: Step, model_sha256: str | None = None, now: datetime | None = None) -> list[Rate]:
    """Return the rate of each step with inspections, oldest first.

    Args:
        history: The history that stores the verdicts.
        step: Length of a step; it also determines the time covered, ``SPANS``.
        model_sha256: Only this model's verdicts.
        now: End of the time covered, by default the present.

    Raises:
        HistoryError: The database cannot be used.
    """
    since = _prefix((now or datetime.now(UTC)) - SPANS[step], step)
    start = func.substr(VERDICTS.c.time, literal_column("1"), literal_column(str(_DIGITS[step]))).label("start")
    defective = func.sum(case((VERDICTS.c.defective.is_(True), 1), else_=0))
    refused = func.sum(case((VERDICTS.c.decision == "not_inspectable", 1), else_=0))
    columns = (start, func.count(), func.count(VERDICTS.c.defective), defective, refused)
    query = select(*columns).where(VERDICTS.c.time > since)
    if model_sha256 is not None:
        query = query.where(VERDICTS.c.model_sha256 == model_sha256)
    with history.transaction() as connection:
        rows = connection.execute(query.group_by("start").order_by("start")).all()
    return [
        Rate(time=_start(time), inspected=all_, judged=judged, defective=int(bad), not_inspectable=int(other))
        for time, all_, judged, bad, other in rows
    ]


def _prefix(time: datetime, step: Step) -> str:
    """Return the prefix shared by the times of a step."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[: _DIGITS[step]]


def _start(start: str) -> str:
    """Return the start of a step as a full time."""
    return start + "0000-00-00T00:00:00.000+00:00"[len(start) :]
