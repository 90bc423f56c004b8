"""Watching for drift across restarts: over all verdicts of a history, whoever stored them."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select

from clipada.calibration import Calibration, DriftMonitor, DriftReport
from clipada.config import DriftConfig
from clipada.history.store import History
from clipada.history.tables import DRIFT, VERDICTS

LEAST = 1000
"""Parts after which what was learnt is kept; later, whenever their number has grown by a tenth."""


class DriftWatch:
    """Watches the verdicts that a history holds of one calibration, in the order they were stored.

    Nothing is handed over: ``update`` reads what was stored since, by this process or another. So several that inspect
    with one run watch one stream, and one that starts again goes on where the last one stood. What was learnt is kept
    in the history from time to time, and outlives the verdicts when they are pruned.

    Args:
        history: Where verdicts are stored.
        calibration: What they rest on.
        settings: The chance of a false alarm.
    """

    def __init__(self, history: History, calibration: Calibration, settings: DriftConfig | None = None) -> None:
        self.history = history
        self.calibration = calibration
        self.settings = settings or DriftConfig()
        self._key = {"model_sha256": calibration.model_sha256, "calibration": calibration.id}
        self._beginning, self._upto, self._kept = -1, 0, 0
        self._lock = Lock()
        with history.transaction() as connection:
            self._go_on(connection)

    def update(self) -> tuple[DriftReport, ...]:
        """Take what was stored since into account; report each group that drifts, once."""
        with self.history.transaction() as connection, self._lock:
            self._go_on(connection)
            if (connection.scalar(select(func.max(VERDICTS.c.id))) or 0) < self._upto:
                self._upto = 0  # all were pruned: SQLite gives numbers again
            for number, score, group in connection.execution_options(yield_per=1000).execute(self._new_verdicts()):
                self.monitor.add(score, group)
                self._upto = number
        if self.monitor.parts - self._kept >= max(LEAST, self._kept // 10):
            self.save()
        new = tuple(report for report in self.monitor.drifting() if report.group not in self._told)
        self._told |= {report.group for report in new}
        return new

    def reports(self) -> tuple[DriftReport, ...]:
        """How each group looked at the last update; any thread may ask."""
        with self._lock:
            return self.monitor.reports()

    def save(self) -> None:
        """Keep what was learnt in the history."""
        if self.monitor.parts == self._kept:
            return
        row = self._key | {"beginning": self._beginning, "upto": self._upto, "state": self.monitor.state()}
        older = _of(self._key), DRIFT.c.beginning <= self._beginning
        with self.history.transaction() as connection:
            number = connection.scalar(insert(DRIFT).returning(DRIFT.c.id), row)
            connection.execute(delete(DRIFT).where(*older, DRIFT.c.id < number))
        self._kept = self.monitor.parts

    def _go_on(self, connection: Connection) -> None:
        """Stand where the history's last row stands, if this watch is new, or somebody said to begin anew."""
        query = select(DRIFT).where(_of(self._key), DRIFT.c.beginning > self._beginning)
        row = connection.execute(query.order_by(DRIFT.c.beginning.desc(), DRIFT.c.id.desc()).limit(1)).first()
        if row is None and self._beginning >= 0:
            return
        self.monitor = DriftMonitor(self.calibration, self.settings)
        self._told: set[str | None] = set()
        self._beginning, self._upto = (0, 0) if row is None else (row.beginning, row.upto)
        if row is not None and row.state is not None and not self.monitor.restore(row.state):
            self._upto = 0  # other settings: learn it again from the verdicts that are left
        self._kept = self.monitor.parts

    def _new_verdicts(self) -> Select[Any]:
        """Number, score and group of each verdict not yet watched."""
        columns = (VERDICTS.c.id, VERDICTS.c.score, VERDICTS.c.group_name)
        ours = (VERDICTS.c[name] == value for name, value in self._key.items())
        return select(*columns).where(*ours, VERDICTS.c.id > self._upto).order_by(VERDICTS.c.id)


def restart(history: History) -> None:
    """Watch for drift anew from here on, under every calibration: what had drifted was mended."""
    with history.transaction() as connection:
        upto = connection.scalar(select(func.max(VERDICTS.c.id))) or 0
        judged = select(VERDICTS.c.model_sha256, VERDICTS.c.calibration).where(VERDICTS.c.calibration.is_not(None))
        for row in connection.execute(judged.distinct()).all():
            key = dict(row._mapping)
            last = connection.scalar(select(func.max(DRIFT.c.beginning)).where(_of(key))) or 0
            connection.execute(insert(DRIFT).values(key | {"beginning": last + 1, "upto": upto, "state": None}))


def _of(key: Mapping[str, str]) -> ColumnElement[bool]:
    """The rows of a model and calibration."""
    return and_(*(DRIFT.c[name] == value for name, value in key.items()))
