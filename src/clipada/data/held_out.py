"""Photos of good parts that a training leaves out, so that a threshold can be set with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from clipada.data.categories import choose_held_out, choose_names
from clipada.data.dataset import Dataset
from clipada.types import Sample


def fresh_counts(dataset: Dataset, share: float, most: int) -> dict[str, int]:
    """Return how many good images of each category can be held out.

    A threshold comes before the test: where the layout has no split, the share is of all good images, and the test
    gets a part of the others. Without defects there is nothing to test on, so that the good test images of a split
    count too: nothing else needs them.

    Args:
        dataset: The images.
        share: Largest share of a category's good images that are not in a test split, 0..1.
        most: Largest number of them.
    """
    return {
        category: min(most, int(share * len(_pool(dataset, category)))) + len(_spare(dataset, category))
        for category in dataset.categories
    }


def hold_out(dataset: Dataset, counts: Mapping[str, int]) -> tuple[Dataset, tuple[Sample, ...]]:
    """Hold out good images of each category, chosen by the hashes of their names.

    Args:
        dataset: The images.
        counts: How many of each category, as ``fresh_counts`` returns them; without any, the split stays as it is.

    Returns:
        The data set to train and test on, and the held-out images.
    """
    held: list[Sample] = []
    moved: dict[Sample, Sample] = {}
    for category, count in counts.items():
        spare, pool = _spare(dataset, category), _pool(dataset, category)
        chosen = _chosen(dataset, pool, count - len(spare))
        held += [*spare, *chosen]
        if _split_by_choice(dataset, category):
            moved |= _divided(dataset, [sample for sample in pool if sample not in set(chosen)])
    out, places = set(held), {name: place for place, name in enumerate(dataset.categories)}
    kept = (moved.get(sample, sample) for sample in dataset.samples if sample not in out)
    ordered = sorted(kept, key=lambda sample: (places[sample.category], sample.split != "train"))
    notes = tuple(note for note in dataset.notes if not (note.splits and counts))
    return replace(dataset, samples=tuple(ordered), notes=notes), tuple(held)


def _pool(dataset: Dataset, category: str) -> list[Sample]:
    """Return the good images of a category that no split of the layout keeps for the test."""
    chosen = _split_by_choice(dataset, category)
    images = (sample for sample in dataset.samples if sample.category == category and not sample.anomalous)
    return [sample for sample in images if chosen or sample.split == "train"]


def _spare(dataset: Dataset, category: str) -> list[Sample]:
    """Return the test images of a category where no test image of the data set shows a defect."""
    if any(sample.anomalous for sample in dataset.test):
        return []
    return [sample for sample in dataset.test if sample.category == category]


def _split_by_choice(dataset: Dataset, category: str) -> bool:
    """Return True if good images of a category were chosen for the test one by one."""
    return any(note.splits and note.category == category for note in dataset.notes)


def _chosen(dataset: Dataset, samples: Iterable[Sample], count: int) -> list[Sample]:
    names = _named(dataset, samples)
    return [names[name] for name in sorted(choose_names(names, count))]


def _divided(dataset: Dataset, samples: Iterable[Sample]) -> dict[Sample, Sample]:
    """Return images with the split that they have if a fixed share of them is tested on."""
    names = _named(dataset, samples)
    tested = choose_held_out(names)
    return {sample: replace(sample, split="test" if name in tested else "train") for name, sample in names.items()}


def _named(dataset: Dataset, samples: Iterable[Sample]) -> dict[str, Sample]:
    return {sample.path.relative_to(dataset.root).as_posix(): sample for sample in samples}
