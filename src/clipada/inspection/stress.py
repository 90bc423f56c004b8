"""Stress test: decisions on perturbed photos of good parts, and on synthetic defects perturbed alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipada.calibration import Calibration
from clipada.config import BatchConfig, StressConfig
from clipada.config.image_rules import rules_of
from clipada.data.labels import mask_error
from clipada.errors import AlignmentError, CalibrationError, ClipAdaError, DatasetError
from clipada.images import resize
from clipada.images.perturbing import perturb
from clipada.inspection.inspector import Inspector
from clipada.inspection.reading import ReadImage, try_read
from clipada.inspection.stress_counts import StressCount, StressRow, StressTest
from clipada.inspection.synthetic import can_draw_defects, drawn_defect
from clipada.types import Decision, Failure, Image, Progress, ProgressReport, Verdict, unreported

POOLED = "all"
"""Name of the images that have no thresholds of their own."""


def run_stress_test(
    inspector: Inspector,
    paths: Sequence[Path],
    settings: StressConfig,
    *,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
) -> StressTest:
    """Inspect photos of good parts as they are and under every perturbation, with and without a synthetic defect.

    Every draw depends on the seed, the image and the kind of perturbation alone: neither on the order of the images nor
    on the other settings. At all strengths of a kind an image moves, turns, ... in the same direction.

    Args:
        inspector: The inspector of a calibrated run.
        paths: Photos of good parts.
        settings: Strengths, and numbers of images and defects.
        batch_size: Images per forward pass.
        workers: Threads that score.
        report: Called after every image.

    Raises:
        CalibrationError: The run is not calibrated.
        DatasetError: An image is a mask.
        ImageError: An image is too large for a JPEG.
    """
    return _StressTester(inspector, settings, batch_size, workers, report).test(evenly(paths, settings.images))


def require_calibration(inspector: Inspector) -> Calibration:
    """Return an inspector's calibration; raise ``CalibrationError`` if it has none."""
    if inspector.calibration is None:
        run = "RUN" if inspector.run is None else inspector.run.folder
        raise CalibrationError(
            f"run {run} is not calibrated",
            expected="thresholds, at which false alarms are counted",
            got="none",
            remedy=f"run clipada calibrate {run} HELD-OUT-GOOD-PARTS",
        )
    return inspector.calibration


def evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """Return at most ``most`` of some paths, evenly spaced; all for 0."""
    if not most or len(paths) <= most:
        return list(paths)
    return [paths[place * len(paths) // most] for place in range(most)]


class _StressTester:
    """Counts decisions, batch by batch, so that few images are in memory at a time."""

    def __init__(
        self, inspector: Inspector, settings: StressConfig, batch_size: int, workers: int, report: ProgressReport
    ) -> None:
        self.inspector = inspector
        self.calibration = require_calibration(inspector)
        self.settings = settings
        self.batch_size = batch_size
        self.workers = workers
        self.report = report
        kinds = settings.perturbations()
        self.rows = [StressRow(kind=None, strength=0.0), *(StressRow(kind=kind, strength=one) for kind, one in kinds)]
        self.failures: list[Failure] = []
        self.done = self.total = 0

    def test(self, paths: Sequence[Path]) -> StressTest:
        """Count all decisions."""
        drawn = set(evenly(paths, self.settings.defects)) if self.settings.defects and can_draw_defects() else set()
        self.total = len(self.rows) * (len(paths) + len(drawn))
        for start in range(0, len(paths), self.batch_size):
            batch = paths[start : start + self.batch_size]
            reads = list(self._read(batch))
            self._progress(len(self.rows) * (len(batch) - len(reads)))
            self._count(reads, defects=False)
            chosen = [path for path in batch if path in drawn]
            damaged = [self._with_defect(read) for read in reads if read.path in drawn]
            made = [read for read in damaged if read is not None]
            self._progress(len(self.rows) * (len(chosen) - len(made)))
            self._count(made, defects=True)
        return StressTest(
            rows=tuple(self.rows),
            false_alarm_rate=self.calibration.settings.false_alarm_rate,
            confidence=self.settings.confidence,
            failures=tuple(self.failures),
        )

    def _read(self, paths: Sequence[Path]) -> Iterator[ReadImage]:
        """Yield the images that can be read."""
        engine = self.inspector.engine
        for path in paths:
            read = try_read(path, engine.size, rules_of(engine))
            if isinstance(read, ReadImage):
                yield read
            else:
                self.failures.append(Failure(path=path, error=read))

    def _with_defect(self, read: ReadImage) -> ReadImage | None:
        """Draw a synthetic defect into an image at its own size; return ``None`` if the draw is empty."""
        image = drawn_defect(read.image, self._rng(read, "defect"))
        return None if image is None else self._changed(read, image)

    def _count(self, reads: Sequence[ReadImage], *, defects: bool) -> None:
        """Inspect images under every perturbation and add the decisions to the rows."""
        if not reads:
            return
        for place, row in enumerate(self.rows):
            verdicts = self.inspector.inspect_batch(
                [self._perturbed(read, row) for read in reads], workers=self.workers
            )
            for verdict in verdicts:
                self.rows[place] = self._counted(self.rows[place], verdict, defects=defects)
            self._progress(len(reads))

    def _counted(self, row: StressRow, verdict: Verdict | ClipAdaError, *, defects: bool) -> StressRow:
        """Return a row with the decision on one more image."""
        if isinstance(verdict, AlignmentError):
            return _with(row, "not_inspectable", POOLED, defects=defects)
        if isinstance(verdict, ClipAdaError):
            raise verdict
        if row.kind is None and not defects and (error := mask_error(verdict)) is not None:
            raise DatasetError(error.what, expected="images of good parts alone", got=error.got, remedy=error.remedy)
        decision: Decision = "defective" if verdict.defective else "good"
        if verdict.inspectable is False:
            decision = "not_inspectable"
        return _with(row, decision, verdict.group or POOLED, defects=defects)

    def _perturbed(self, read: ReadImage, row: StressRow) -> ReadImage:
        if row.kind is None:
            return read
        return self._changed(read, perturb(read.image, row.kind, row.strength, self._rng(read, row.kind)))

    def _changed(self, read: ReadImage, image: Image) -> ReadImage:
        return replace(read, image=image, small=resize(image, self.inspector.engine.size))

    def _rng(self, read: ReadImage, purpose: str) -> np.random.Generator:
        """Return a generator for an image and a purpose."""
        return np.random.default_rng([self.settings.seed, int(read.sha256[:16], 16), zlib.crc32(purpose.encode())])

    def _progress(self, count: int) -> None:
        """Report so many more images, one by one, so that no quarter is passed over."""
        for _ in range(count):
            self.done += 1
            self.report(Progress(stage="perturbing", done=self.done, total=self.total))


def _with(row: StressRow, decision: Decision, group: str, *, defects: bool) -> StressRow:
    """Return a row with one more decision, on a good part of a group or on a synthetic defect."""
    if defects:
        return replace(row, defects=row.defects.plus(decision))
    groups = {**row.groups, group: row.groups.get(group, StressCount()).plus(decision)}
    return replace(row, good=row.good.plus(decision), groups=groups)
