"""Kinds of defects that are found and missed at a calibrated threshold, and the false alarms among good parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from clipada.types import Decision

GOOD = "good"
"""The kind of parts without a defect."""


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """Decisions on the images of one kind of a product.

    Attributes:
        category: The product.
        kind: The kind of defect; ``good`` for none.
        images: Number of images.
        defective: Number of those called defective: found defects, or false alarms.
        not_inspectable: Number of those that were neither called good nor defective.
    """

    category: str
    kind: str
    images: int
    defective: int
    not_inspectable: int = 0

    @property
    def is_good(self) -> bool:
        """True for parts without a defect."""
        return self.kind == GOOD

    @property
    def found(self) -> int:
        """Number of defective parts called defective."""
        return 0 if self.is_good else self.defective

    @property
    def missed(self) -> int:
        """Number of defective parts called good."""
        return 0 if self.is_good else self.images - self.defective - self.not_inspectable

    @property
    def false_alarms(self) -> int:
        """Number of good parts called defective."""
        return self.defective if self.is_good else 0


def decide(score: float, threshold: float | None, input_reason: str | None = None) -> Decision | None:
    """Return the decision on an image.

    Args:
        score: Its image score.
        threshold: It is defective above this one; ``None`` without a calibration.
        input_reason: The reason why it is not inspectable, if it is not.
    """
    if input_reason is not None:
        return "not_inspectable"
    return None if threshold is None else "defective" if score > threshold else "good"


def count_kinds(images: Iterable[tuple[str, str, Decision]]) -> tuple[KindCount, ...]:
    """Count decisions by product and kind: products and their kinds in order of appearance, good parts last.

    Args:
        images: Category, kind of defect (``good`` for none) and decision of each image.
    """
    counts: dict[str, dict[str, Counter[Decision]]] = {}
    for category, kind, decision in images:
        counts.setdefault(category, {}).setdefault(kind, Counter())[decision] += 1
    return tuple(
        KindCount(
            category=category,
            kind=kind,
            images=decisions.total(),
            defective=decisions["defective"],
            not_inspectable=decisions["not_inspectable"],
        )
        for category, kinds in counts.items()
        for kind, decisions in sorted(kinds.items(), key=lambda item: item[0] == GOOD)
    )
