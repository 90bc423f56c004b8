"""A served model: inspects batches, stores verdicts, reloads its calibration, watches for drift."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from clipada.calibration import DriftReport
from clipada.calibration.input_rate import InputReport
from clipada.config import ServeConfig, cores
from clipada.errors import CalibrationError, ClipAdaError, HistoryError, RunError
from clipada.history.drift import DriftWatch
from clipada.history.store import History
from clipada.inspection import Inspector
from clipada.runs import CALIBRATION, MANIFEST, load_calibration
from clipada.server.batching import Answer, Batcher, QueuedImage
from clipada.server.errors import RefusedError
from clipada.server.metrics import ServerMetrics
from clipada.server.storage import StorageCheck
from clipada.types import Verdict

log = logging.getLogger(__name__)

NAME_LENGTH = 255


class ServedModel:
    """A model behind its queue.

    Args:
        name: The name that callers use.
        inspector: Inspects the images.
        settings: The server's settings.
        history: Stores the verdicts.
        metrics: Counts the verdicts.
        storage: Learns of verdicts that could not be stored.
    """

    def __init__(
        self,
        name: str,
        inspector: Inspector,
        settings: ServeConfig,
        history: History,
        metrics: ServerMetrics,
        storage: StorageCheck,
    ) -> None:
        self.name = name
        self.inspector = inspector
        self.batcher = Batcher(self, settings, name)
        self._history = history
        self._metrics = metrics
        self._storage = storage
        folder = None if inspector.run is None else inspector.run.folder
        self._paths = [] if folder is None else [folder / CALIBRATION, folder / MANIFEST]
        self._seen = list(map(_file_stamp, self._paths))
        self._drift: DriftWatch | None = None
        self._drift_unavailable = False

    def require_group(self, group: str | None) -> None:
        """Check that the calibration knows a group that a caller names: a misspelled one would get other thresholds.

        Raises:
            RefusedError: The calibration has groups, but not this one (422).
        """
        if self.inspector.calibration is None:
            return
        try:
            self.inspector.calibration.require_group(group)
        except CalibrationError as error:
            raise RefusedError(422, error.what, expected=error.expected, got=error.got, remedy=error.remedy) from error

    def known_group(self, group: str | None) -> str | None:
        """Return the group of a stored verdict if the present calibration knows it, else ``None``."""
        calibration = self.inspector.calibration
        return group if calibration is not None and group in calibration.group_sizes else None

    def prepare(self) -> None:
        """Run one forward pass, as the first takes longer than later ones, and read the verdicts stored before."""
        self.inspector.engine.localize(np.zeros((1, *self.inspector.engine.size, 3), np.uint8))
        self._watch_drift()

    def refresh(self) -> None:
        """Reload the run's calibration if it has changed, and check the parts stored since for drift."""
        self._recalibrate()
        self._watch_drift()

    def finish(self) -> None:
        """Save the state of the drift watch, after the last batch."""
        self._watch_drift()
        if self._drift is not None and not self._drift_unavailable:
            self._drift.save()

    def drift(self) -> tuple[DriftReport, ...]:
        """Return a report for each group with parts, as of the last update."""
        return () if self._drift is None else self._drift.reports()

    def inputs(self) -> InputReport | None:
        """Return the finding on images that are not inspectable, as of the last update."""
        return None if self._drift is None else self._drift.inputs()

    def _recalibrate(self) -> None:
        """Load ``calibration.json`` if it or its seal has changed; keep the present one if the new one is invalid."""
        stamps = list(map(_file_stamp, self._paths))
        if self.inspector.run is None or stamps == self._seen:
            return
        self._seen = stamps
        try:
            calibration, run = load_calibration(self.inspector.run)
            if calibration is None:
                log.warning("%s was removed; model %s keeps its present calibration", self._paths[0], self.name)
                return
            if self.inspector.calibration is not None and calibration.id == self.inspector.calibration.id:
                return
            self.inspector.recalibrate(calibration, run)
        except (CalibrationError, RunError) as error:
            log.error("model %s keeps its present calibration: %s", self.name, error)
            return
        self._drift = None
        log.warning("model %s uses calibration %s from now on", self.name, calibration.id)

    def _watch_drift(self) -> None:
        """Add the verdicts stored since and warn of drift once; if the database is unreachable, catch up later."""
        calibration = self.inspector.calibration
        if calibration is None:
            return
        try:
            self._drift = self._drift or DriftWatch(self._history, calibration)
            for report in self._drift.update():
                log.warning("model %s: %s", self.name, report.describe())
        except HistoryError as error:
            if not self._drift_unavailable:
                log.error("model %s cannot be watched for drift at present: %s", self.name, error)
            self._drift_unavailable = True
        else:
            self._drift_unavailable = False

    def process(self, images: Sequence[QueuedImage]) -> list[Answer | ClipAdaError]:
        """Inspect a batch and store its verdicts in one transaction."""
        started = time.perf_counter()
        results = self.inspector.inspect_batch(
            [image.content for image in images], [image.group for image in images], workers=min(4, cores())
        )
        inspected = time.perf_counter()
        named = [_named(result, image) for result, image in zip(results, images, strict=True)]
        stored = [
            (result, image.content)
            for result, image in zip(named, images, strict=True)
            if isinstance(result, Verdict) and image.store
        ]
        try:
            numbers = iter(self._history.store([verdict for verdict, _ in stored], [content for _, content in stored]))
        except (HistoryError, OSError) as error:
            self._storage.failed(error)
            raise
        self._metrics.batch(self.name, len(images), inspected - started, time.perf_counter() - inspected)
        answers: list[Answer | ClipAdaError] = []
        for result, image in zip(named, images, strict=True):
            if isinstance(result, Verdict):
                answers.append(Answer(verdict=result, id=next(numbers) if image.store else None))
                if image.store:
                    self._metrics.verdict(self.name, result)
            else:
                answers.append(result)
                self._metrics.unreadable(self.name)
        return answers


def display_name(name: str | None) -> str | None:
    """Return a caller's file name in a form that is safe to store and display: without folders, printable."""
    last = PureWindowsPath(name or "").name  # takes both kinds of slashes
    shown = "".join(character for character in last if character.isprintable())[:NAME_LENGTH]
    return None if shown in ("", ".", "..") else shown


def _named(result: Verdict | ClipAdaError, image: QueuedImage) -> Verdict | ClipAdaError:
    """Return the verdict with the caller's name of the image as its path, which is displayed and never opened."""
    return replace(result, path=Path(image.name)) if isinstance(result, Verdict) and image.name else result


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when a file is replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
