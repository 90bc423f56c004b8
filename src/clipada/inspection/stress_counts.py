"""Decisions on perturbed photos, counted, and their rates with exact intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from clipada.calibration.conformal import rate_bound
from clipada.config import PerturbationKind
from clipada.config.stress import UNITS
from clipada.types import Decision, Failure


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
        """The perturbation with the highest false-alarm rate for certain: one alarm of one decided part says little."""

        def least(row: StressRow) -> tuple[float, float]:
            return (row.good.interval(self.confidence)[0], row.good.rate or 0.0) if row.good.decided else (0.0, 0.0)

        return max(self.rows, key=least)

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
