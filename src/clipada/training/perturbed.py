"""Perturbed copies of good images: the conditions that a stress test found to raise false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config
from clipada.data import read_batches
from clipada.engines.tiled import image_tiles
from clipada.images import resize
from clipada.images.perturbing import perturb
from clipada.randomness import derived_rng
from clipada.types import Image

AT_ONCE = 4
"""Photos that are read at a time, at their own size."""


@dataclass(frozen=True, kw_only=True)
class PerturbedCopies:
    """Perturbed copies of a product's good images.

    Attributes:
        images: ``(c, H, W, 3)`` uint8.
        sources: Position of the good image that each is a copy of, ``(c,)`` int64.
    """

    images: NDArray[np.uint8]
    sources: Tensor


def perturbed_copies(name: str, paths: Sequence[Path], config: Config, workers: int) -> PerturbedCopies:
    """Perturb photos of a product at their own size, all kinds and strengths in turn, and resize them for the model.

    With tiles, a copy is a tile of a perturbed photo.

    Args:
        name: The product.
        paths: Its good images.
        config: All settings.
        workers: Threads that decode.
    """
    settings, size = config.augment, config.model.size
    rng = derived_rng(config.training.seed, "perturbed copies", name)
    order, conditions = rng.permutation(len(paths)), settings.perturbations()
    chosen = [int(order[number % len(paths)]) for number in range(settings.copies)]
    images, sources = np.empty((settings.copies, *size, 3), np.uint8), list[int]()
    asked = [paths[place] for place in chosen]
    done = 0
    for batch in read_batches(asked, size, AT_ONCE, workers, rules=config.model.rules, keep_originals=True):
        for place, photo in zip(batch.positions, batch.originals, strict=True):
            kind, strength = conditions[place % len(conditions)]
            own = derived_rng(config.training.seed, "perturbed copy", name, place)
            images[done] = _viewed(perturb(photo, kind, strength, own), config, own)
            sources.append(chosen[place])
            done += 1
    return PerturbedCopies(images=images[:done], sources=torch.tensor(sources, dtype=torch.int64))


def _viewed(photo: Image, config: Config, rng: np.random.Generator) -> Image:
    """Return a photo at the model's input size, or a tile of it."""
    size = config.model.size
    if not config.inspection.tiled:
        return resize(photo, size)
    tiles = image_tiles(config.inspection, size, (photo.shape[0], photo.shape[1]))
    return tiles.cut(photo, int(rng.integers(len(tiles))))
