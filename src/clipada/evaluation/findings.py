"""Findings on the files of an evaluation, for its protocol and for the user."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipada.calibration.image_statistics import image_statistics
from clipada.calibration.input_check import InputCheck
from clipada.data import Dataset
from clipada.errors import DatasetError
from clipada.images import image_sha256, readable_sha256
from clipada.types import Engine, Failure, Image, LocalizedImage, ProductEngine, Sample


def without_learned(dataset: Dataset, sha256s: Collection[str]) -> tuple[Dataset, tuple[Path, ...]]:
    """Leave out the test images that a model has learned from as known defects.

    Args:
        dataset: The data set.
        sha256s: Hashes of the photos of known defects.

    Returns:
        The data set without them, and their files.

    Raises:
        DatasetError: No test image is left.
    """
    if not sha256s:
        return dataset, ()
    learned = tuple(sample.path for sample in dataset.test if readable_sha256(sample.path) in sha256s)
    left_out = set(learned)
    kept = replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.path not in left_out))
    if learned and not kept.test:
        raise DatasetError(
            f"nothing to test on in {dataset.root}",
            expected="test images that the model was not shown as defects",
            got=f"{len(learned)} that it was",
        )
    return kept, learned


class Findings:
    """Findings on the files of an evaluation: unusable ones, unusual masks, training images, images of no part.

    Args:
        training_sha256s: Hashes of the training images.
        input_check: Finds images that are not inspectable.
        product_given: True if the model is given the product of each image.
    """

    def __init__(
        self, training_sha256s: Collection[str], input_check: InputCheck | None, product_given: bool = False
    ) -> None:
        self.product_given = product_given
        self._products: Counter[tuple[str, str]] = Counter()
        self.failures: list[Failure] = []
        self.trained_on: list[Path] = []
        self.not_inspectable: dict[Path, str] = {}
        self.outside: list[Path] = []
        self._training = training_sha256s
        self._check = input_check
        self._notes: dict[str, list[Path]] = defaultdict(list)

    def note(self, text: str, mask: Path) -> None:
        """Take note of a rule that was applied to a mask."""
        self._notes[text].append(mask)

    def compare(self, path: Path) -> None:
        """Take note of a test image that is a training image."""
        if self._training and image_sha256(path) in self._training:
            self.trained_on.append(path)

    def check(self, sample: Sample, image: Image, found: LocalizedImage) -> str | None:
        """Take note of a test image ``(H, W, 3)`` that is not inspectable; return the reason."""
        if self._check is None:
            return None
        seen = image if found.seen is None else found.seen
        reason = self._check.reason(image_statistics(seen), found.descriptor, sample.category)
        if reason is not None:
            self.not_inspectable[sample.path] = reason
        return reason

    def compare_product(self, sample: Sample, engine: Engine, found: LocalizedImage) -> None:
        """Count the product that a model with a memory takes an image for, where it knows the right one."""
        if self.product_given or not isinstance(engine, ProductEngine):
            return
        if found.product is not None and sample.category in engine.products:
            self._products[sample.category, engine.products[found.product]] += 1

    @property
    def products_found(self) -> dict[str, Any] | None:
        """Images whose product a model with a memory found, and took for another; ``None`` for other models."""
        if self.product_given:
            return {"given": True}
        if not self._products:
            return None
        wrong = {pair: count for pair, count in self._products.items() if pair[0] != pair[1]}
        named = [{"product": one, "found": other, "images": count} for (one, other), count in sorted(wrong.items())]
        return {"given": False, "images": self._products.total(), "wrong": sum(wrong.values()), "confused": named}

    def describe(self) -> tuple[str, ...]:
        """Describe the notes in a line each, the most serious first."""
        lines = [f"{len(paths)} masks: {text} (first: {paths[0]})" for text, paths in self._notes.items()]
        if products := self.products_found:
            lines += [
                f"{one['images']} images of {one['product']} were taken for {one['found']}"
                for one in products.get("confused", ())
            ]
        if self.outside:
            lines.append(
                f"{len(self.outside)} anomalous images have their defect outside of the region of interest: there they "
                f"can only be missed (first: {self.outside[0]})"
            )
        if self.not_inspectable:
            path, reason = next(iter(self.not_inspectable.items()))
            found = f"{len(self.not_inspectable)} test images are not inspectable, and the metrics include them"
            lines.insert(0, f"{found} (first: {path}: {reason})")
        if self.trained_on:
            count, first = len(self.trained_on), self.trained_on[0]
            lines.insert(0, f"{count} test images are training images, so the metrics are too good (first: {first})")
        return tuple(lines)
