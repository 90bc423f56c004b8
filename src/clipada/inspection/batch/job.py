"""One job behind every way to inspect: outcomes of this machine, a cluster or a watched folder, written and watched."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from clipada.calibration import Calibration, DriftMonitor
from clipada.config import PredictConfig
from clipada.errors import ConfigError
from clipada.inspection.batch.journal import Journal
from clipada.inspection.batch.pipeline import Outcome
from clipada.inspection.batch.sources import Source, Sources
from clipada.inspection.pictures import is_picture
from clipada.inspection.record import Record

log = logging.getLogger(__name__)


class OutcomeRecorder(Protocol):
    """Anything that takes the outcomes of a job besides its JSON lines: a database, or a watch for drift."""

    def record(self, outcome: Outcome) -> None:
        """Take one outcome, before it is handed out."""

    def end(self) -> None:
        """Take note that all outcomes were handed out."""


class DriftLog:
    """Watch for drift among the outcomes of one job, logged at its end; nothing without a calibration."""

    def __init__(self, calibration: Calibration | None) -> None:
        self._monitor = None if calibration is None else DriftMonitor(calibration)

    def record(self, outcome: Outcome) -> None:
        """Take an outcome into account; failures and verdicts without a calibration do not count."""
        record = outcome.record
        if self._monitor is not None and record.get("calibration"):
            inspectable = record.get("decision") != "not_inspectable"
            self._monitor.add(record["score"], record["group"], inspectable=inspectable)

    def end(self) -> None:
        """Log a warning for each group that drifted, and if too many images were not inspectable."""
        if self._monitor is None:
            return
        for report in self._monitor.drifting():
            log.warning(report.describe())
        if (inputs := self._monitor.inputs.report()).alarming:
            log.warning(inputs.describe())


def run_job(
    outcomes: Iterable[Outcome],
    recorder: OutcomeRecorder,
    journal: Journal | None = None,
    resources: AbstractContextManager[object] | None = None,
) -> Generator[Outcome]:
    """Hand out outcomes in order, each once its JSON line is written and it is recorded.

    Args:
        outcomes: The results of the inspection, made while they are taken.
        recorder: Takes each outcome.
        journal: The file of JSON lines, which is closed in the end.
        resources: What is open while the job runs, and closed in the end.
    """
    with resources or nullcontext():
        with journal or nullcontext():
            for outcome in outcomes:
                if journal is not None:
                    journal.append(outcome.record)
                recorder.record(outcome)
                yield outcome
            if journal is not None:
                journal.finish()
        recorder.end()


def find_sources(images: Path | str | Iterable[Path | str], out: Path | str | None, settings: PredictConfig) -> Sources:
    """List the images to inspect; with ``out``, pictures that an earlier prediction wrote do not count.

    Raises:
        ImageError: A path does not exist, or no image is found.
    """
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    return Sources(given, settings.shard, is_picture if out is not None else lambda _: False)


def unfinished(sources: Sources, journal: Journal | None) -> Iterator[Source]:
    """Yield the images without a verdict of an earlier prediction."""
    return (source for source in sources if journal is None or not journal.is_done(source.path))


def open_journal(out: Path | None, settings: PredictConfig, basis: Record | None = None) -> Journal | None:
    """Open the file of JSON lines in ``out``, for verdicts of the model, calibration and threshold in ``basis``.

    Raises:
        ConfigError: A prediction is to be continued, but there is no ``out``.
        RunError: What is in ``out`` is unfinished, damaged, or of another model, calibration or threshold.
    """
    if out is None:
        if settings.skip_done:
            raise ConfigError("there is nothing to continue", got="no --out", remedy="pass the --out it started with")
        return None
    return Journal(out, settings.shard, skip_done=settings.skip_done, basis=basis)
