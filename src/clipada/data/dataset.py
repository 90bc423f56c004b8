"""Data set: its samples by category and split, and notes on it for the user."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from clipada.errors import DatasetError, did_you_mean
from clipada.types import Sample
from clipada.types.words import counted

Layout = Literal["mvtec", "visa", "kolektor", "real_iad", "magnetic_tile", "folder"]

_LAYOUT_NAMES: dict[Layout, str] = {
    "mvtec": "MVTec AD layout",
    "visa": "VisA layout",
    "kolektor": "Kolektor layout",
    "real_iad": "Real-IAD layout",
    "magnetic_tile": "magnetic tile layout",
    "folder": "folder layout",
}


@dataclass(frozen=True, kw_only=True)
class Note:
    """Note on a data set for the user.

    Attributes:
        text: One short line.
        category: The category that it is about; ``None`` for the data set as a whole.
        splits: True if it says that good images, one by one, were chosen for the test, as the layout has no split.
    """

    text: str
    category: str | None = None
    splits: bool = False


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images of a data set by category and split, listed without opening an image.

    Attributes:
        root: Folder of the data set.
        layout: Layout of that folder.
        samples: All images, category by category, training before validation and test images.
        notes: Files left out and decisions made while listing.
        label_files: Other files that were read: black masks that mark images as good.
        saturation_files: The ``defects_config.json`` of each category of MVTec LOCO AD.
    """

    root: Path
    layout: Layout
    samples: tuple[Sample, ...]
    notes: tuple[Note, ...] = ()
    label_files: tuple[Path, ...] = ()
    saturation_files: Mapping[str, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in order."""
        return tuple(dict.fromkeys(sample.category for sample in self.samples))

    @cached_property
    def train(self) -> tuple[Sample, ...]:
        """Training images, all normal."""
        return tuple(sample for sample in self.samples if sample.split == "train")

    @cached_property
    def validation(self) -> tuple[Sample, ...]:
        """Images of good parts that the layout sets apart for thresholds: neither trained nor tested on."""
        return tuple(sample for sample in self.samples if sample.split == "validation")

    @cached_property
    def test(self) -> tuple[Sample, ...]:
        """Test images, normal and anomalous."""
        return tuple(sample for sample in self.samples if sample.split == "test")

    def of(self, category: str) -> Dataset:
        """Return the samples of one category. Raise ``DatasetError`` if there is none of that name."""
        return self.select([category])

    def select(self, categories: Collection[str]) -> Dataset:
        """Return the samples of some categories, in the data set's own order.

        Raises:
            DatasetError: A category is unknown, or none is given.
        """
        wanted = [categories] if isinstance(categories, str) else list(categories)
        unknown = [name for name in wanted if name not in self.categories]
        if unknown or not wanted:
            raise DatasetError(
                f"no category {', '.join(map(repr, unknown)) or 'chosen'} in {self.root}",
                expected="one or more of " + ", ".join(self.categories),
                got=", ".join(map(repr, wanted)) or "none",
                remedy=did_you_mean(unknown[0], self.categories) if unknown else None,
            )
        return replace(
            self,
            samples=tuple(sample for sample in self.samples if sample.category in wanted),
            notes=tuple(note for note in self.notes if note.category is None or note.category in wanted),
            saturation_files={name: path for name, path in self.saturation_files.items() if name in wanted},
        )

    def require_training(self) -> None:
        """Raise ``DatasetError`` unless there are normal images to train on."""
        if not self.train:
            raise DatasetError(
                f"nothing to train on in {self.root}",
                expected="images of good parts, e.g. in train/good or good",
                got=f"{len(self.test)} test images only",
            )

    def require_test(self) -> None:
        """Raise ``DatasetError`` unless there are images to test on."""
        if not self.test:
            raise DatasetError(
                f"nothing to test on in {self.root}",
                expected="test images, e.g. in test/good and test/<defect>, or in good and anomalous",
                got=f"{len(self.train)} training images only",
            )

    def describe(self) -> tuple[str, ...]:
        """Describe the data set in short lines: layout, counts of each category, and notes."""
        head = f"{_LAYOUT_NAMES[self.layout]}, {counted(len(self.categories), 'category', 'categories')}"
        general = (note.text for note in self.notes if note.category is None)
        return (head, *(line for name in self.categories for line in self._describe_category(name)), *general)

    def _describe_category(self, name: str) -> tuple[str, ...]:
        """Describe the counts of one category and its notes."""
        part = self.of(name)
        anomalous = [sample for sample in part.test if sample.anomalous]
        normal = len(part.test) - len(anomalous)
        thresholds = f"{len(part.validation)} for thresholds / " if part.validation else ""
        counts = f"{name}: {len(part.train)} train / {thresholds}{normal} normal + {len(anomalous)} anomalous test"
        maskless = sum(sample.mask is None for sample in anomalous)
        without = [f"{name}: {counted(maskless, 'anomalous image')} without a mask"] if maskless else []
        notes = (f"{name}: {note.text}" for note in part.notes if note.category == name)
        return (counts, *without, *notes)
