"""The recorder of a production line: the history with its sinks and its drift watch."""

from __future__ import annotations

import logging
from typing import Self

from clipada.calibration import Calibration
from clipada.config import HistoryConfig, SinkConfig
from clipada.history.delivery import Courier
from clipada.history.drift import DriftWatch
from clipada.history.sinks import open_sinks
from clipada.history.store import History
from clipada.inspection.batch import Outcome
from clipada.types import Verdict

log = logging.getLogger(__name__)


class Recorder:
    """A history whose verdicts are delivered to sinks and watched for drift, while its ``with`` block runs.

    Args:
        calibration: The calibration of the verdicts; without one there is no drift watch.
        history: The database, and which images to keep.
        sinks: The sinks.

    Raises:
        HistoryError: The database cannot be used.
        SinkError: A sink's address or secret cannot be used.
    """

    def __init__(
        self, calibration: Calibration | None, history: HistoryConfig | None = None, sinks: SinkConfig | None = None
    ) -> None:
        settings = sinks or SinkConfig()
        opened = open_sinks(settings)
        self.history = History(history, sinks=[sink.name for sink in opened])
        self.courier = Courier(self.history, opened, settings)
        self.drift = None if calibration is None else DriftWatch(self.history, calibration)

    def __enter__(self) -> Self:
        self.courier.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.courier.close()
        self.history.close()

    def record(self, outcome: Outcome) -> None:
        """Store the verdict of an outcome; failures are not stored."""
        if isinstance(outcome.result, Verdict):
            self.history.store([outcome.result])

    def end(self) -> None:
        """Log drift, and finish."""
        self.warn_of_drift()
        self.finish()

    def warn_of_drift(self) -> None:
        """Add the verdicts stored since the last call to the drift watch; log each group that drifts, once."""
        for report in () if self.drift is None else self.drift.update():
            log.warning(report.describe())

    def finish(self, *, flush: bool = True) -> None:
        """Save the state of the drift watch, stop the deliveries, and log how many verdicts stay queued.

        Args:
            flush: First deliver what waits, until a sink fails.
        """
        if self.drift is not None:
            self.drift.save()
        self.courier.close(flush=flush)
        for waiting in self.history.waiting():
            if waiting.sink in self.history.sinks:
                log.warning("%d verdicts stay queued in the history for %s", waiting.verdicts, waiting.sink)
