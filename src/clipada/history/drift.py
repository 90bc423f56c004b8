"""The drift watch: over all verdicts of a history, across restarts and processes."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select

from clipada.calibration import Calibration, DriftMonitor, DriftReport
from clipada.calibration.input_rate import InputReport
from clipada.config import DriftConfig
from clipada.history.store import History
from clipada.history.tables import DRIFT, VERDICTS

SAVE_AFTER = 1000
"""Parts after which the state is saved; later, it is saved whenever their number has grown by a tenth."""


class DriftWatch:
    """Watches the verdicts of one calibration in a history for drift, in the order they were stored.

    ``update`` reads the verdicts that this process or another has stored since. So several processes that inspect
    with one run watch the same stream, and a restarted process continues where the last one stopped. The state of the
    watch is saved in the history from time to time, and remains there when the verdicts are pruned.

    Args:
        history: The history that stores the verdicts.
        calibration: The calibration of the verdicts.
        settings: The probability of a false alarm.
    """

    def __init__(self, history: History, calibration: Calibration, settings: DriftConfig | None = None) -> None:
        self.history = history
        self.calibration = calibration
        self.settings = settings or DriftConfig()
        self._key = {"model_sha256": calibration.model_sha256, "calibration": calibration.id}
        self._beginning, self._upto, self._saved_parts = -1, 0, 0
        self._inputs_reported = False
        self._lock = Lock()
        with history.transaction() as connection:
            self._load(connection)

    def update(self) -> tuple[DriftReport | InputReport, ...]:
        """Add the verdicts stored since the last update; return each group that drifts once, and an alarm on images."""
        with self.history.transaction() as connection, self._lock:
            self._load(connection)
            if (connection.scalar(select(func.max(VERDICTS.c.id))) or 0) < self._upto:
                self._upto = 0  # all verdicts were pruned, and SQLite starts again with id 1
            rows = connection.execution_options(yield_per=1000).execute(self._new_verdicts())
            for number, score, group, decision in rows:
                self.monitor.add(score, group, inspectable=decision != "not_inspectable")
                self._upto = number
        if self.monitor.parts - self._saved_parts >= max(SAVE_AFTER, self._saved_parts // 10):
            self.save()
        new = tuple(report for report in self.monitor.drifting() if report.group not in self._reported)
        self._reported |= {report.group for report in new}
        inputs = self.monitor.inputs.report()
        if inputs.alarming and not self._inputs_reported:
            self._inputs_reported = True
            return (*new, inputs)
        return new

    def inputs(self) -> InputReport:
        """Return the finding on images that are not inspectable, as of the last update. Any thread may call this."""
        with self._lock:
            return self.monitor.inputs.report()

    def reports(self) -> tuple[DriftReport, ...]:
        """Return the report of each group as of the last update. Any thread may call this."""
        with self._lock:
            return self.monitor.reports()

    def save(self) -> None:
        """Save the state of the watch in the history."""
        if self.monitor.parts == self._saved_parts:
            return
        row = self._key | {"beginning": self._beginning, "upto": self._upto, "state": self.monitor.state()}
        older = _of(self._key), DRIFT.c.beginning <= self._beginning
        with self.history.transaction() as connection:
            number = connection.scalar(insert(DRIFT).returning(DRIFT.c.id), row)
            # Only older rows are deleted: another process may have saved a newer state, or restarted the watch.
            connection.execute(delete(DRIFT).where(*older, DRIFT.c.id < number))
        self._saved_parts = self.monitor.parts

    def _load(self, connection: Connection) -> None:
        """Load the last saved state, if this watch is new or ``restart`` was called since."""
        query = select(DRIFT).where(_of(self._key), DRIFT.c.beginning > self._beginning)
        row = connection.execute(query.order_by(DRIFT.c.beginning.desc(), DRIFT.c.id.desc()).limit(1)).first()
        if row is None and self._beginning >= 0:
            return
        self.monitor = DriftMonitor(self.calibration, self.settings)
        self._reported: set[str | None] = set()
        self._inputs_reported = False
        self._beginning, self._upto = (0, 0) if row is None else (row.beginning, row.upto)
        if row is not None and row.state is not None and not self.monitor.restore(row.state):
            self._upto = 0  # saved with other settings: start again from the verdicts that are left
        self._saved_parts = self.monitor.parts

    def _new_verdicts(self) -> Select[Any]:
        """Return a query for id, score, group and decision of each verdict that was not added yet."""
        columns = (VERDICTS.c.id, VERDICTS.c.score, VERDICTS.c.group_name, VERDICTS.c.decision)
        ours = (VERDICTS.c[name] == value for name, value in self._key.items())
        return select(*columns).where(*ours, VERDICTS.c.id > self._upto).order_by(VERDICTS.c.id)


def restart(history: History) -> None:
    """Restart the drift watch of every calibration with the next verdict, after the cause of a drift was fixed."""
    with history.transaction() as connection:
        upto = connection.scalar(select(func.max(VERDICTS.c.id))) or 0
        judged = select(VERDICTS.c.model_sha256, VERDICTS.c.calibration).where(VERDICTS.c.calibration.is_not(None))
        for row in connection.execute(judged.distinct()).all():
            key = dict(row._mapping)
            last = connection.scalar(select(func.max(DRIFT.c.beginning)).where(_of(key))) or 0
            connection.execute(insert(DRIFT).values(key | {"beginning": last + 1, "upto": upto, "state": None}))


def _of(key: Mapping[str, str]) -> ColumnElement[bool]:
    """Return the condition for the rows of a model and calibration."""
    return and_(*(DRIFT.c[name] == value for name, value in key.items()))
