"""The views of a product's good images that its memory learns from: the whole images and, of large ones, tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config
from clipada.data import Batch, read_batches
from clipada.devices import to_tensor
from clipada.engines.tiled import image_tiles
from clipada.errors import ImageError
from clipada.images import SIDEWAYS, read_header, read_orientation
from clipada.images.alignment import Align
from clipada.images.roi import RegionsOfInterest
from clipada.images.tiles import Tiles, plan_tiles
from clipada.models.backbones import patch_size
from clipada.models.crops import Crops
from clipada.randomness import derived_rng
from clipada.training.view_regions import ViewRegions
from clipada.types import Failure, Image, Mask, Sample

MOST_IMAGES = 500
"""Views of a product among whose patches rows are chosen, which bounds the RAM: whole images, evenly spaced, and with
tiles at most half as many, and tiles for the rest."""

AT_ONCE = 32
"""Images read at a time."""

DRAWN_PEAKS = 200
"""Images of tiles drawn at random whose highest peaks stand for those of whole images."""


LARGE = 3.0
"""Shorter side of the training images, in sides of the model's input, from which ``auto`` cuts them into tiles."""

MOST_TILES = 48
"""Most tiles of a training image of median size, unless the settings give their side: an image takes as long as that
many of the model's input."""

GROWTH = 1.05
"""Factor by which a side that gives too many tiles grows."""

LEAST_ASPECT = 1.5
"""Ratio of the longer to the shorter side from which an image is not squashed to a square."""

SAME_ASPECT = 0.05
"""Largest difference of the ratios of all images, as a share, with which they count as the same."""

_LEAST_PATCHES = 4
"""Fewest patches along a side of an input that is not square."""

_MEASURED = 50
"""Training images, evenly spaced, whose size is read."""


def with_decided_view(config: Config, samples: Sequence[Sample]) -> Config:
    """Return the settings with view and tile decided by the size of the training images, where they are left open."""
    view, size = config.inspection.view, config.model.size
    if view == "whole" or (view == "tiles" and config.inspection.tile is not None):
        return config
    typical = _typical_size([sample.path for sample in samples])
    if view == "auto" and (not config.memory.rows or min(typical) < LARGE * max(size)):
        return config.updated({"inspection.view": "whole"})
    tile = config.inspection.tile or _tile(typical, config)
    return config.updated({"inspection.view": "tiles", "inspection.tile": tile})


def with_decided_aspect(config: Config, samples: Sequence[Sample]) -> Config:
    """Return the settings with an input of the training images' aspect ratio, if they agree on one far from a square.

    It has about as many patches as the square. Tiles and the paper's method, which has no memory, keep the square.
    """
    if not config.memory.rows or config.inspection.tiled:
        return config
    ratios = [height / width for height, width in _sizes([sample.path for sample in samples])]
    ratio = float(np.median(ratios)) if ratios else 1.0
    agreeing = np.mean(np.abs(np.log(np.array(ratios) / ratio)) < SAME_ASPECT) if ratios else 0.0
    if abs(np.log(ratio)) < np.log(LEAST_ASPECT) or agreeing < 1:
        return config
    patch = patch_size(config.backbone)
    patches = config.model.size[0] * config.model.size[1] / patch**2
    rows = max(_LEAST_PATCHES, round((patches * ratio) ** 0.5))
    columns = max(_LEAST_PATCHES, round(patches / rows))
    return config.updated({"model.image_size": (rows * patch, columns * patch)})


def _typical_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the median height and width of images, which are not decoded; 0 if none can be read."""
    height, width = np.median(_sizes(paths) or [(0, 0)], axis=0)
    return int(height), int(width)


def _sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return height and width, as they are seen, of some images, evenly spaced, that can be read."""
    sizes = []
    for path in paths[:: max(1, len(paths) // _MEASURED)]:
        with suppress(ImageError):
            header = read_header(path)
            sideways = read_orientation(path) in SIDEWAYS
            sizes.append((header.width, header.height) if sideways else (header.height, header.width))
    return sizes


def _tile(image: tuple[int, int], config: Config) -> int:
    """Return the smallest side of a tile, from the model's input on, with which an image has few enough of them."""
    side = max(config.model.size)
    while len(plan_tiles(image, config.model.size, side, config.inspection.overlap)) > MOST_TILES:
        side = round(GROWTH * side)
    return side


@dataclass(frozen=True, kw_only=True)
class ProductViews:
    """Views of a product's good images, at the model's input size.

    Attributes:
        images: The ``n`` whole images, then their tiles, ``(m, H, W, 3)`` uint8.
        sources: Position of the whole image that each shows, ``(m,)`` int64.
        paths: Files of the whole images.
        failures: Files that could not be read, or aligned.
        tiles: Mean number of tiles of an image that are read; 1 where images are read whole alone.
        skipped: Mean number of tiles of an image that are not read, as they show nothing of the region of interest.
        regions: Regions of interest in all views; ``None`` if all of them counts.
    """

    images: NDArray[np.uint8]
    sources: Tensor
    paths: tuple[Path, ...]
    failures: tuple[Failure, ...]
    tiles: int
    skipped: int = 0
    regions: ViewRegions | None = None

    @property
    def whole(self) -> NDArray[np.uint8]:
        """The whole images, ``(n, H, W, 3)``."""
        return self.images[: len(self.paths)]


def read_views(
    name: str,
    paths: Sequence[Path],
    config: Config,
    workers: int,
    regions: RegionsOfInterest | None = None,
    most: int = MOST_IMAGES,
    align: Align | None = None,
) -> ProductViews:
    """Read a product's images, about as many views of them as asked for.

    All tiles of an image are of use, but not of each: tiles are drawn so that every place of the part is seen in
    about as many images. Those that show nothing of a region of interest are not read.

    Args:
        name: The product.
        paths: Its good images.
        config: All settings.
        workers: Threads that decode.
        regions: The products' regions of interest.
        most: Number of views.
        align: Moves the images into the frame of the product's reference; those that do not fit are failures.
    """
    model, tiled = config.model, config.inspection.tiled
    chosen = paths[:: max(1, -(-len(paths) // (most // 2 if tiled else most)))]
    each = -(-(most - len(chosen)) // max(1, len(chosen)))
    found = _Collected(name, config, each, regions)
    read = read_batches(chosen, model.size, AT_ONCE, workers, rules=model.rules, keep_originals=tiled, align=align)
    for batch in read:
        found.add(batch)
    return found.views()


class _Collected:
    """Views that are collected batch by batch.

    Args:
        name: The product.
        config: All settings.
        each: Most tiles of an image.
        regions: The products' regions of interest.
    """

    def __init__(self, name: str, config: Config, each: int, regions: RegionsOfInterest | None) -> None:
        self.name, self.config, self.each, self.regions = name, config, each, regions
        self.rng = derived_rng(config.training.seed, "tiles", name)
        self.order: dict[int, NDArray[np.int64]] = {}
        self.paths: list[Path] = []
        self.failures: list[Failure] = []
        self.whole: list[NDArray[np.uint8]] = []
        self.cut: list[Image] = []
        self.sources: list[int] = []
        self.tiles: list[int] = []
        self.skipped: list[int] = []
        self.masks: list[Mask] = [] if (inside := self.inside(config.model.size)) is None else [inside]
        self.places: dict[tuple[tuple[int, int], int], int] = {}
        self.numbers: list[int] = []

    def inside(self, size: tuple[int, int]) -> Mask | None:
        """Return the product's region of interest in images of a size; ``None`` for all of them."""
        return None if self.regions is None else self.regions.inside(self.name, size)

    def add(self, batch: Batch) -> None:
        """Add a batch of images, and tiles of those that are cut."""
        for place, image in enumerate(batch.originals if self.config.inspection.tiled else ()):
            source = len(self.paths) + place
            drawn = list(self.drawn_tiles(image, source))
            self.cut += drawn
            self.sources += [source] * len(drawn)
        self.paths += batch.paths
        self.failures += batch.failures
        self.whole.append(batch.images)

    def drawn_tiles(self, image: Image, source: int) -> Iterator[Image]:
        """Yield tiles of an image: those that come next in an order of all places, which is the same for all images."""
        tiles = image_tiles(self.config.inspection, self.config.model.size, (image.shape[0], image.shape[1]))
        inside = self.inside(tiles.joined)
        shown = tiles.shown(inside)
        self.tiles.append(len(shown))
        self.skipped.append(len(tiles) - len(shown))
        if len(tiles) == 1:
            return
        order = self.order.setdefault(len(tiles), self.rng.permutation(len(tiles)))
        places = [int(place) for place in order if place in set(shown)]
        for turn in range(min(self.each, len(places))):
            number = places[(source * self.each + turn) % len(places)]
            if inside is not None:
                self.numbers.append(self.number_of(tiles, number, inside))
            yield tiles.cut(image, number)

    def number_of(self, tiles: Tiles, number: int, inside: Mask) -> int:
        """Return the position, among the masks, of what a tile shows of the region of interest."""
        place = (tiles.image, number)
        if place not in self.places:
            self.places[place] = len(self.masks)
            self.masks.append(tiles.cut_region(inside, number))
        return self.places[place]

    def views(self) -> ProductViews:
        """Return all views."""
        size = self.config.model.size
        regions = None
        if self.masks:
            numbers = torch.tensor([0] * len(self.paths) + self.numbers, dtype=torch.int64)
            regions = ViewRegions(masks=np.stack(self.masks), numbers=numbers)
        cut = np.stack(self.cut) if self.cut else np.empty((0, *size, 3), np.uint8)
        return ProductViews(
            images=np.concatenate([*self.whole, cut]),
            sources=torch.tensor([*range(len(self.paths)), *self.sources], dtype=torch.int64),
            paths=tuple(self.paths),
            failures=tuple(self.failures),
            tiles=round(np.mean(self.tiles)) if self.tiles else 1,
            skipped=round(np.mean(self.skipped)) if self.skipped else 0,
            regions=regions,
        )


def cut_boxes(images: NDArray[np.uint8], crops: Crops, number: int) -> NDArray[np.uint8]:
    """Cut the box of a product out of images ``(n, H, W, 3)``, at the input size."""
    if not crops.any or not len(images):
        return images
    parts = []
    for start in range(0, len(images), AT_ONCE):
        pixels = to_tensor(images[start : start + AT_ONCE])
        products = torch.full((len(pixels),), number)
        parts.append((255 * crops.cut(pixels, products)).round().clamp(0, 255).to(torch.uint8))
    cut: NDArray[np.uint8] = torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()
    return cut


def image_peaks(peaks: Iterable[float], tiles: int, rng: np.random.Generator) -> list[float]:
    """Return the peaks of the maps of whole images, given those of views: the highest of the tiles of each.

    Args:
        peaks: Peaks of the maps of some views.
        tiles: Tiles of an image.
        rng: Source of all draws.
    """
    known = list(peaks)
    if tiles == 1 or not known:
        return known
    return [float(one) for one in rng.choice(known, (DRAWN_PEAKS, tiles)).max(axis=1)]
