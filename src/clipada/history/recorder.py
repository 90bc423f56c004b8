"""What an inspection beside a line needs besides an inspector: the history, its sinks, and the watch for drift."""

from __future__ import annotations

import logging
from typing import Self

from clipada.calibration import Calibration
from clipada.config import HistoryConfig, SinkConfig
from clipada.history.delivery import Courier
from clipada.history.drift import DriftWatch
from clipada.history.sinks import open_sinks
from clipada.history.store import History

log = logging.getLogger(__name__)


class Recorder:
    """A history whose verdicts are delivered to sinks and watched for drift, from ``with`` to its end.

    Args:
        calibration: What the verdicts rest on; without one there is no watch for drift.
        history: Where verdicts are stored, and which images are kept.
        sinks: Who is told.

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

    def warn_of_drift(self) -> None:
        """Take the verdicts stored since into account; warn of each group that drifts, once."""
        for report in () if self.drift is None else self.drift.update():
            log.warning(report.describe())

    def finish(self, *, flush: bool = True) -> None:
        """Keep what was learnt of drift, stop delivering, and say what waits for a later day.

        Args:
            flush: Whether to deliver first what waits, until a sink fails.
        """
        if self.drift is not None:
            self.drift.save()
        self.courier.close(flush=flush)
        for waiting in self.history.waiting():
            if waiting.sink in self.history.sinks:
                log.warning("%d verdicts wait in the history for %s", waiting.verdicts, waiting.sink)
