"""Split of a data set's normal images: the share of each category that a training uses, and the held-out ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from clipada.config import Config
from clipada.randomness import derived_generator
from clipada.types import Sample


def select_share(samples: Sequence[Sample], config: Config) -> list[Sample]:
    """Select the share ``training.image_share`` of each category's images, rounded, at least one.

    The draw follows from the seed alone, so a smaller share is a part of a larger one.
    """
    kept: set[Sample] = set()
    for category, members in _by_category(samples).items():
        count = max(1, round(config.training.image_share * len(members)))
        kept |= set(_shuffled(members, config, "image share", category)[:count])
    return [sample for sample in samples if sample in kept]


def split_validation(samples: Sequence[Sample], config: Config) -> tuple[list[Sample], list[Sample]]:
    """Split normal images into training and held-out ones, category by category, by the seed.

    Returns:
        The images to train on and those held out: ``validation_fraction`` of each category, rounded.
    """
    held_out: set[Sample] = set()
    for category, members in _by_category(samples).items():
        count = round(config.training.validation_fraction * len(members))
        held_out |= set(_shuffled(members, config, "validation split", category)[: min(count, len(members) - 1)])
    return [s for s in samples if s not in held_out], [s for s in samples if s in held_out]


def learned_products(images: Mapping[str, int], config: Config) -> tuple[str, ...]:
    """Return the products that the filter of a memory learns from, given the number of good images of each."""
    settings = config.filter
    return tuple(name for name, count in images.items() if settings.images and count >= settings.least_images)


def describe_few(samples: Sequence[Sample], config: Config) -> str | None:
    """Say in words for which products there are too few good images to train a filter; ``None`` if for none."""
    training, _ = split_validation(select_share(samples, config), config)
    counts = {name: len(members) for name, members in _by_category(training).items()}
    learned = learned_products(counts, config)
    few = ", ".join(f"{name} ({count})" for name, count in counts.items() if name not in learned)
    if not few or not config.filter.images:
        return None
    more = f"with {config.filter.least_images} or more of a product"
    if learned:
        return f"few good images of {few}: the filter learns from {', '.join(learned)} alone; {more}, from it too"
    return f"few good images of {few}: a memory alone, nothing is trained; the same command {more} also trains a filter"


def _by_category(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    by_category: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_category[sample.category].append(sample)
    return by_category


def _shuffled(members: Sequence[Sample], config: Config, purpose: str, category: str) -> list[Sample]:
    """Shuffle the images of a category by a seed and a purpose."""
    generator = derived_generator(config.training.seed, purpose, category)
    return [members[place] for place in torch.randperm(len(members), generator=generator).tolist()]
