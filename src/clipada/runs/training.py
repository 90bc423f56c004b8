"""The record of a run's training, and of what has changed since."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from clipada.config.schema import require

Action = Literal["added", "removed"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of a run's memory after its training.

    Attributes:
        revision: Number of the revision that it made.
        action: ``"added"`` or ``"removed"``.
        product: The product.
        condition: Name of the light or camera; empty for the product itself.
        images: Number of good images that were added or removed.
        time: Time of the change, in UTC.
        clipada_version: The version that made it.
        fingerprint: Hash of the hashes of the images that were added; empty for a removal.
    """

    revision: int
    action: Action
    product: str
    condition: str
    images: int
    time: str
    clipada_version: str
    fingerprint: str = ""

    def describe(self) -> str:
        """Describe the change in a line."""
        what = f"{self.product}, {self.condition}" if self.condition else self.product
        return f"revision {self.revision}, {self.time}: {self.action} {what} ({self.images} images)"


LEAST_GOOD = 4
"""Fewest good images of a product with known defects: from them follows what normal patches reach along a direction."""

LEAST_PHOTOS = 2
"""Fewest photos of known defects of a product: each is judged by what the others have taught."""


@dataclass(frozen=True, kw_only=True)
class LearnedDefects:
    """Record of what a training learned from photos of known defects of a product.

    Attributes:
        photos: Number of photos it was shown.
        used: Those of them in which cells could be taken for the defect.
        kinds: Number of photos of each kind.
        weight: Weight of what was learned, beside the memory's evidence; 0 where it would not have helped.
        auroc_without: Image AUROC of these photos beside good training images, 0..1, without it.
        auroc_with: The same with it, each photo judged without having been learned from.
    """

    photos: int
    used: int
    kinds: dict[str, int]
    weight: float
    auroc_without: float | None = None
    auroc_with: float | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """Record of the training of a run.

    Attributes:
        categories: Number of training images per category.
        layout: The layout the data set was read as.
        unreadable: Training images that were skipped because they could not be read.
        seconds: Training time of the process that finished it.
        images_per_second: Training throughput of that process.
        losses: Final loss of each pass, coarse first.
        machine: Processor or GPU it ran on.
        normal_level: 95 % quantile of the training images' map peaks, 0..1.
        normal_levels: The same for each category.
        coverage: How well the rows of each category's memory stand for all of its patches, 0..1; empty without one.
        recall: Share of good patches, 0..1, whose nearest row the index of each category's rows finds; empty where all
            rows are compared, and in earlier versions.
        copies: Kind of the changed copies that joined the images of each category's memory; empty without a memory.
        tiles: Tiles of an image that are read, and those that show nothing of the region of interest and are not, of
            each category; empty for whole images, and in earlier versions.
        filtered: Categories that the memory's filter learned from; empty without a filter, and in earlier versions.
        validation: Metrics per pass on held-out training images with synthetic anomalies; empty without a split.
        data: The data set's folder.
        defects: What was learned from known defects, by category; empty without any.
        defects_data: The folder of known defects; empty without any.
        changes: What was added to the memory, or removed from it, since; the newest last.
    """

    categories: dict[str, int]
    layout: str
    unreadable: tuple[str, ...]
    seconds: float
    images_per_second: float
    losses: tuple[float, ...]
    machine: str
    normal_level: float
    validation: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    data: str = ""
    normal_levels: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    tiles: dict[str, tuple[int, int]] = field(default_factory=dict)
    filtered: tuple[str, ...] = ()
    defects: dict[str, LearnedDefects] = field(default_factory=dict)
    defects_data: str = ""
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        for level in (self.normal_level, *self.normal_levels.values()):
            require(0 <= level <= 1, "training.normal_level", "0 to 1", level, "field")
