"""A model as it is served: inspects batches, stores verdicts, follows its calibration, watches for drift."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from clipada.bundle import CALIBRATION
from clipada.calibration import Calibration, DriftMonitor, DriftReport, read_calibration
from clipada.config import DriftConfig, ServeConfig, cores
from clipada.errors import CalibrationError, ClipAdaError
from clipada.inspector import Inspector
from clipada.serving.batching import Answer, Batcher, Job
from clipada.serving.history import History
from clipada.serving.instruments import Instruments
from clipada.types import Verdict

log = logging.getLogger(__name__)

NAME_LENGTH = 255


class Drift:
    """Drift of one calibration's parts, watched for in windows, so that memory is bounded.

    Window ``k`` may give a false alarm with a chance of ``a / (k (k + 1))``; over all windows, however many, that is
    ``a``. What was once found stays until there is a new calibration.

    Args:
        calibration: What the verdicts rest on.
        window: Parts in a window.
        settings: The chance ``a``, and the seed.
    """

    def __init__(self, calibration: Calibration, window: int, settings: DriftConfig | None = None) -> None:
        self._calibration = calibration
        self._window = window
        self._settings = settings or DriftConfig()
        self._lock = threading.Lock()
        self._found: dict[str | None, DriftReport] = {}
        self._number = 0
        self._start()

    def watch(self, verdict: Verdict) -> None:
        """Take a verdict into account."""
        with self._lock:
            self._monitor.watch(verdict)
            self._parts += 1
            if self._parts >= self._window:
                self._found |= {report.group: report for report in self._monitor.reports() if report.drifting}
                self._start()

    def reports(self) -> tuple[DriftReport, ...]:
        """For each group that parts were seen of: what was found, else how the present window looks."""
        with self._lock:
            return tuple(({report.group: report for report in self._monitor.reports()} | self._found).values())

    def _start(self) -> None:
        self._number += 1
        chance = self._settings.false_alarm_chance / (self._number * (self._number + 1))
        self._monitor = DriftMonitor(self._calibration, replace(self._settings, false_alarm_chance=chance))
        self._parts = 0


class ServedModel:
    """A model behind its queue.

    Args:
        name: What callers call it.
        inspector: Inspects its images.
        settings: The server's.
        history: Where verdicts go.
        instruments: Where they are counted.
    """

    def __init__(
        self, name: str, inspector: Inspector, settings: ServeConfig, history: History, instruments: Instruments
    ) -> None:
        self.name = name
        self.inspector = inspector
        self.drift: Drift | None = None
        self.batcher = Batcher(self, settings, name)
        self._settings = settings
        self._history = history
        self._instruments = instruments
        self._path = None if inspector.run is None else inspector.run.folder / CALIBRATION
        self._seen = _stamp(self._path)
        self._follow(inspector.calibration)

    def prepare(self) -> None:
        """Look at a blank image: the first look takes longer than those after it."""
        side = self.inspector.engine.image_size
        self.inspector.engine.localise_passes(np.zeros((1, side, side, 3), np.uint8))

    def refresh(self) -> None:
        """Judge by the run's ``calibration.json`` if it has changed; keep the present one if the new is no good."""
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
        self._follow(calibration)
        log.warning("model %s judges by calibration %s from now on", self.name, calibration.id)

    def work(self, jobs: Sequence[Job]) -> list[Answer | ClipAdaError]:
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
        self._instruments.batch(self.name, len(jobs), inspected - started, time.perf_counter() - inspected)
        answers: list[Answer | ClipAdaError] = []
        for result, job in zip(named, jobs, strict=True):
            if isinstance(result, Verdict):
                answers.append(Answer(verdict=result, id=next(numbers) if job.store else None))
                if job.store:
                    self._count(result)
            else:
                answers.append(result)
                self._instruments.unreadable(self.name)
        return answers

    def _count(self, verdict: Verdict) -> None:
        self._instruments.verdict(self.name, verdict)
        if self.drift is not None:
            self.drift.watch(verdict)

    def _follow(self, calibration: Calibration | None) -> None:
        self.drift = None if calibration is None else Drift(calibration, self._settings.drift_window)


def shown_name(name: str | None) -> str | None:
    """A file name that a caller sent, fit to be stored and shown: no folders, nothing that does not print."""
    last = PureWindowsPath(name or "").name  # takes both kinds of slashes
    shown = "".join(character for character in last if character.isprintable())[:NAME_LENGTH]
    return None if shown in ("", ".", "..") else shown


def _named(result: Verdict | ClipAdaError, job: Job) -> Verdict | ClipAdaError:
    """The verdict with the sender's name for the image: a name to be read, never a file to be opened."""
    return replace(result, path=Path(job.name)) if isinstance(result, Verdict) and job.name else result


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is replaced."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino)
