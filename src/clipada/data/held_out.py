"""Photos of good parts that a training leaves out, so that a threshold can be set with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clipada.data.categories import choose_names
from clipada.data.dataset import Dataset
from clipada.types import Sample


def fresh_counts(dataset: Dataset, share: float, most: int) -> dict[str, int]:
    """Return how many good images of each category can be held out.

    Without defects there is nothing to test on, so that good test images count too: nothing else needs them.

    Args:
        dataset: The images.
        share: Largest share of a category's training images, 0..1.
        most: Largest number of them.
    """
    counts = {}
    for category in dataset.categories:
        part = dataset.of(category)
        counts[category] = min(most, int(share * len(part.train))) + len(_spare(dataset, category))
    return counts


def hold_out(dataset: Dataset, counts: Mapping[str, int]) -> tuple[Dataset, tuple[Sample, ...]]:
    """Hold out good images of each category, chosen by the hashes of their names.

    Args:
        dataset: The images.
        counts: How many of each category, as ``fresh_counts`` returns them.

    Returns:
        The data set to train and test on, and the held-out images.
    """
    held: list[Sample] = []
    for category, count in counts.items():
        spare = _spare(dataset, category)
        names = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.of(category).train}
        held += spare + [names[name] for name in sorted(choose_names(names, count - len(spare)))]
    chosen = set(held)
    kept = tuple(sample for sample in dataset.samples if sample not in chosen)
    return replace(dataset, samples=kept), tuple(held)


def _spare(dataset: Dataset, category: str) -> list[Sample]:
    """Return the test images of a category where no test image of the data set shows a defect."""
    if any(sample.anomalous for sample in dataset.test):
        return []
    return [sample for sample in dataset.test if sample.category == category]
