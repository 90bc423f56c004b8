"""Stress test: decisions on perturbed photos of good parts, and on synthetic defects perturbed alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from clipada.calibration import Calibration
from clipada.calibration.conformal import rate_bound
from clipada.config import BatchConfig, PerturbationKind, StressConfig
from clipada.config.stress import UNITS
from clipada.data.labels import mask_error
from clipada.errors import CalibrationError, ClipAdaError, DatasetError
from clipada.images import resize
from clipada.images.perturbing import perturb
from clipada.inspection.inspector import Inspector
from clipada.inspection.reading import ReadImage, try_read
from clipada.inspection.synthetic import can_draw_defects, drawn_defect
from clipada.types import Decision, Failure, Image, Progress, ProgressReport, Verdict, unreported

POOLED = "all"
"""Name of the images that have no thresholds of their own."""


@dataclass(frozen=True, kw_only=True)
class StressCount:
    """Decisions on images under one perturbation.

    Attributes:
        images: Number of images.
        defective: Number of those called defective: false alarms, or found defects.
        not_inspectable: Number of those that the input check refused.
    """

    images: int = 0
    defective: int = 0
    not_inspectable: int = 0

    @property
    def decided(self) -> int:
        """Number of images that were called good or defective."""
        return self.images - self.not_inspectable

    @property
    def rate(self) -> float | None:
        """Share of the decided images that were called defective, 0..1; ``None`` if none was decided."""
        return self.defective / self.decided if self.decided else None

    @property
    def stopped(self) -> float:
        """Share of all images that did not pass as good, 0..1."""
        return (self.defective + self.not_inspectable) / self.images if self.images else 0.0

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the exact interval of ``rate`` (Clopper and Pearson, 1934), 0..1."""
        tail, found = (1 - confidence) / 2, self.defective
        low = rate_bound(self.decided, found, tail) if found else 0.0
        return low, rate_bound(self.decided, found + 1, 1 - tail) if found < self.decided else 1.0

    def plus(self, decision: Decision) -> StressCount:
        """Return the count with one more image."""
        return StressCount(
            images=self.images + 1,
            defective=self.defective + (decision == "defective"),
            not_inspectable=self.not_inspectable + (decision == "not_inspectable"),
        )


@dataclass(frozen=True, kw_only=True)
class StressRow:
    """Decisions under one perturbation.

    Attributes:
        kind: The perturbation; ``None`` for the photos as they are.
        strength: Its strength, in the unit of ``PerturbationConfig``; 0 for the photos as they are.
        good: Decisions on the good parts.
        defects: Decisions on those with a synthetic defect.
        groups: Decisions on the good parts, by the group whose thresholds were applied.
    """

    kind: PerturbationKind | None
    strength: float
    good: StressCount = StressCount()
    defects: StressCount = StressCount()
    groups: Mapping[str, StressCount] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The perturbation and its strength, in words."""
        if self.kind is None:
            return "none"
        name, unit = UNITS[self.kind]
        return f"{name} {self.strength:g} {unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class StressTest:
    """Result of a stress test.

    Attributes:
        rows: Decisions on the photos as they are, then under each perturbation.
        false_alarm_rate: Share of good parts that the calibration allows to be called defective, 0..1.
        confidence: Confidence of the intervals, 0..1.
        failures: Images that could not be read.
    """

    rows: tuple[StressRow, ...]
    false_alarm_rate: float
    confidence: float
    failures: tuple[Failure, ...] = ()

    @property
    def plain(self) -> StressRow:
        """The row of the photos as they are."""
        return self.rows[0]

    @cached_property
    def worst_first(self) -> tuple[StressRow, ...]:
        """All rows, those first under which the largest share of good parts does not pass."""
        return tuple(sorted(self.rows, key=lambda row: (-row.good.stopped, -row.good.defective)))

    @property
    def worst(self) -> StressRow:
        """The perturbation with the highest false-alarm rate; of several, that with the most decided images."""
        return max(self.rows, key=lambda row: (row.good.rate or 0.0, row.good.decided))

    def raised(self, row: StressRow) -> bool:
        """Return True if a row's false-alarm rate is above the allowed one beyond chance, at the confidence."""
        return bool(row.good.decided) and row.good.interval(self.confidence)[0] > self.false_alarm_rate

    def harmful(self) -> dict[PerturbationKind, tuple[float, ...]]:
        """Return the strengths under which false alarms are too frequent, by kind of perturbation."""
        found: dict[PerturbationKind, tuple[float, ...]] = {}
        for row in self.rows:
            if row.kind is not None and self.raised(row):
                found[row.kind] = (*found.get(row.kind, ()), row.strength)
        return found


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
        report: Called after every forward pass.

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
            read = try_read(path, engine.size, engine.depth)
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
        if isinstance(verdict, ClipAdaError):
            raise verdict
        if row.kind is None and not defects and (error := mask_error(verdict)) is not None:
            raise DatasetError(error.what, expected="images of good parts alone", got=error.got, remedy=error.remedy)
        decision: Decision = "defective" if verdict.defective else "good"
        if verdict.inspectable is False:
            decision = "not_inspectable"
        if defects:
            return replace(row, defects=row.defects.plus(decision))
        group = verdict.group or POOLED
        groups = {**row.groups, group: row.groups.get(group, StressCount()).plus(decision)}
        return replace(row, good=row.good.plus(decision), groups=groups)

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
        if count:
            self.done += count
            self.report(Progress(stage="perturbing", done=self.done, total=self.total))
