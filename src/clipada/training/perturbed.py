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
from clipada.errors import AlignmentError
from clipada.images import resize
from clipada.images.alignment import Align
from clipada.images.perturbing import perturb
from clipada.images.roi import RegionsOfInterest
from clipada.randomness import derived_rng
from clipada.training.view_regions import ViewRegions
from clipada.types import Image, Mask

AT_ONCE = 4
"""Photos that are read at a time, at their own size."""


@dataclass(frozen=True, kw_only=True)
class PerturbedCopies:
    """Perturbed copies of a product's good images.

    Attributes:
        images: ``(c, H, W, 3)`` uint8.
        sources: Position of the good image that each is a copy of, ``(c,)`` int64.
        regions: Regions of interest in tiles; ``None`` if all of each copy counts, or the same as of the whole image.
    """

    images: NDArray[np.uint8]
    sources: Tensor
    regions: ViewRegions | None = None


def perturbed_copies(
    name: str,
    paths: Sequence[Path],
    config: Config,
    workers: int,
    regions: RegionsOfInterest | None = None,
    align: Align | None = None,
) -> PerturbedCopies:
    """Perturb photos of a product at their own size, all kinds and strengths in turn, and resize them for the model.

    With tiles, a copy is a tile of a perturbed photo that shows any of the region of interest.

    Args:
        name: The product.
        paths: Its good images.
        config: All settings.
        workers: Threads that decode.
        regions: The products' regions of interest.
        align: Moves a perturbed photo into the frame of the product's reference; one that does not fit is left out.
    """
    settings, size = config.augment, config.model.size
    rng = derived_rng(config.training.seed, "perturbed copies", name)
    order, conditions = rng.permutation(len(paths)), settings.perturbations()
    chosen = [int(order[number % len(paths)]) for number in range(settings.copies)]
    images, sources = np.empty((settings.copies, *size, 3), np.uint8), list[int]()
    asked, masks = [paths[place] for place in chosen], list[Mask]()
    done = 0
    for batch in read_batches(asked, size, AT_ONCE, workers, rules=config.model.rules, keep_originals=True):
        for place, photo in zip(batch.positions, batch.originals, strict=True):
            kind, strength = conditions[place % len(conditions)]
            own = derived_rng(config.training.seed, "perturbed copy", name, place)
            changed = _aligned(perturb(photo, kind, strength, own), asked[place], align)
            if changed is None:
                continue
            images[done], mask = _viewed(changed, name, config, own, regions)
            masks += [] if mask is None else [mask]
            sources.append(chosen[place])
            done += 1
    shown = ViewRegions(masks=np.stack(masks), numbers=torch.arange(done)) if masks else None
    return PerturbedCopies(images=images[:done], sources=torch.tensor(sources, dtype=torch.int64), regions=shown)


def _aligned(photo: Image, path: Path, align: Align | None) -> Image | None:
    """Return a photo in the frame of the product's reference; ``None`` if it does not fit."""
    try:
        return photo if align is None else align(path, photo).image
    except AlignmentError:
        return None


def _viewed(
    photo: Image, name: str, config: Config, rng: np.random.Generator, regions: RegionsOfInterest | None
) -> tuple[Image, Mask | None]:
    """Return a photo at the model's input size, or a tile of it and what it shows of the region of interest."""
    size = config.model.size
    if not config.inspection.tiled:
        return resize(photo, size), None
    tiles = image_tiles(config.inspection, size, (photo.shape[0], photo.shape[1]))
    inside = None if regions is None else regions.inside(name, tiles.joined)
    shown = tiles.shown(inside)
    number = shown[int(rng.integers(len(shown)))]
    return tiles.cut(photo, number), None if inside is None else tiles.cut_region(inside, number)
