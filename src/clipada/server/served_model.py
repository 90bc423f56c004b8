"""A model as it is served: inspects batches, stores verdicts, follows its calibration, watches for drift."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from clipada.calibration import DriftReport, read_calibration
from clipada.config import ServeConfig, cores
from clipada.errors import CalibrationError, ClipAdaError, HistoryError
from clipada.history.drift import DriftWatch
from clipada.history.store import History
from clipada.inspection import Inspector
from clipada.runs import CALIBRATION
from clipada.server.batching import Answer, Batcher, QueuedImage
from clipada.server.metrics import ServerMetrics
from clipada.types import Verdict

log = logging.getLogger(__name__)

NAME_LENGTH = 255


class ServedModel:
    """A model behind its queue.

    Args:
        name: What callers call it.
        inspector: Inspects its images.
        settings: The server's.
        history: Where verdicts go.
        metrics: Where they are counted.
    """

    def __init__(
        self, name: str, inspector: Inspector, settings: ServeConfig, history: History, metrics: ServerMetrics
    ) -> None:
        self.name = name
        self.inspector = inspector
        self.batcher = Batcher(self, settings, name)
        self._history = history
        self._metrics = metrics
        self._path = None if inspector.run is None else inspector.run.folder / CALIBRATION
        self._seen = _stamp(self._path)
        self._drift: DriftWatch | None = None
        self._blind = False

    def prepare(self) -> None:
        """Look at a blank image, as the first look takes longer than those after it; read what was stored before."""
        side = self.inspector.engine.image_size
        self.inspector.engine.localize_passes(np.zeros((1, side, side, 3), np.uint8))
        self._watch_drift()

    def refresh(self) -> None:
        """Judge by the run's calibration of today, and look whether the parts stored since drift from it."""
        self._recalibrate()
        self._watch_drift()

    def finish(self) -> None:
        """Keep what was learnt of drift, after the last batch."""
        self._watch_drift()
        if self._drift is not None and not self._blind:
            self._drift.save()

    def drift(self) -> tuple[DriftReport, ...]:
        """For each group that parts were seen of: do they look like those of the calibration?"""
        return () if self._drift is None else self._drift.reports()

    def _recalibrate(self) -> None:
        """Take up ``calibration.json`` if it has changed; keep the present one if the new is no good."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._seen:
            return
        self._seen = stamp
        if stamp is None:
            log.warning("%s is gone; model %s goes on with the calibration it has", self._path, self.name)
            return
        try:
            calibration = read_calibration(self._path)
            if self.inspector.calibration is not None and calibration.id == self.inspector.calibration.id:
                return
            self.inspector.recalibrate(calibration)
        except CalibrationError as error:
            log.error("model %s goes on with the calibration it has: %s", self.name, error)
            return
        self._drift = None
        log.warning("model %s judges by calibration %s from now on", self.name, calibration.id)

    def _watch_drift(self) -> None:
        """Take the verdicts stored since into account, and warn of drift once; a database that is away can wait."""
        calibration = self.inspector.calibration
        if calibration is None:
            return
        try:
            self._drift = self._drift or DriftWatch(self._history, calibration)
            for report in self._drift.update():
                log.warning("model %s: %s", self.name, report.describe())
        except HistoryError as error:
            if not self._blind:
                log.error("model %s is not watched for drift at present: %s", self.name, error)
            self._blind = True
        else:
            self._blind = False

    def work(self, jobs: Sequence[QueuedImage]) -> list[Answer | ClipAdaError]:
        """Inspect a batch and store its verdicts in one transaction."""
        started = time.perf_counter()
        results = self.inspector.inspect_batch(
            [job.content for job in jobs], [job.group for job in jobs], workers=min(4, cores())
        )
        inspected = time.perf_counter()
        named = [_named(result, job) for result, job in zip(results, jobs, strict=True)]
        stored = [
            (result, job.content)
            for result, job in zip(named, jobs, strict=True)
            if isinstance(result, Verdict) and job.store
        ]
        numbers = iter(self._history.store([verdict for verdict, _ in stored], [content for _, content in stored]))
        self._metrics.batch(self.name, len(jobs), inspected - started, time.perf_counter() - inspected)
        answers: list[Answer | ClipAdaError] = []
        for result, job in zip(named, jobs, strict=True):
            if isinstance(result, Verdict):
                answers.append(Answer(verdict=result, id=next(numbers) if job.store else None))
                if job.store:
                    self._metrics.verdict(self.name, result)
            else:
                answers.append(result)
                self._metrics.unreadable(self.name)
        return answers


def display_name(name: str | None) -> str | None:
    """A file name that a caller sent, fit to be stored and shown: no folders, nothing that does not print."""
    last = PureWindowsPath(name or "").name  # takes both kinds of slashes
    shown = "".join(character for character in last if character.isprintable())[:NAME_LENGTH]
    return None if shown in ("", ".", "..") else shown


def _named(result: Verdict | ClipAdaError, job: QueuedImage) -> Verdict | ClipAdaError:
    """The verdict with the sender's name for the image: a name to be read, never a file to be opened."""
    return replace(result, path=Path(job.name)) if isinstance(result, Verdict) and job.name else result


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is replaced."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino)
