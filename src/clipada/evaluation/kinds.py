"""Kinds of defects that are found and missed at a calibrated threshold, and the false alarms among good parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clipada.calibration import Calibration, group_of
from clipada.errors import ImageError
from clipada.images import image_sha256
from clipada.types import Decision
from clipada.types.words import counted

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


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Decisions on the test images of an evaluation at the thresholds of a calibration.

    Attributes:
        calibration: Id of the calibration.
        kinds: Counts by product and kind.
        calibrated_on: Good test images that are calibration images: there are fewer false alarms among them.
    """

    calibration: str
    kinds: tuple[KindCount, ...]
    calibrated_on: tuple[str, ...] = ()


class LabeledImage(NamedTuple):
    """Test image with its label and score.

    Attributes:
        category: The product.
        kind: The kind of defect; ``good`` for none.
        path: The file, whose folders name its group.
        score: Image score, 0..1.
        input_reason: The reason why it is not inspectable, if it is not.
    """

    category: str
    kind: str
    path: Path
    score: float
    input_reason: str | None = None


def decisions_at(calibration: Calibration, images: Iterable[LabeledImage]) -> Decisions:
    """Count the decisions on test images at the thresholds of a calibration, each by that of its group."""
    images, per = list(images), calibration.settings.per
    decided = (
        (image.category, image.kind, decide(image.score, threshold, image.input_reason))
        for image in images
        for threshold in [calibration.limits(group_of(image.path, per)).score]
    )
    known = ((category, kind, decision) for category, kind, decision in decided if decision is not None)
    shared = find_calibrated((image.path for image in images if image.kind == GOOD), calibration)
    return Decisions(calibration=calibration.id, kinds=count_kinds(known), calibrated_on=tuple(map(str, shared)))


def find_calibrated(paths: Iterable[Path], calibration: Calibration) -> list[Path]:
    """Return the images that set the thresholds of a calibration, by their content; files that are gone are not."""
    known, found = {image.sha256 for image in calibration.images}, []
    for path in paths:
        with suppress(ImageError):
            if image_sha256(path) in known:
                found.append(path)
    return found


def describe_calibrated(count: int) -> str:
    """Say what follows from a number of good test images that are calibration images."""
    known = counted(count, "good test image is a calibration image", "good test images are calibration images")
    return f"{known}: fewer false alarms are among them than among others"


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
