"""Tiles before any engine: images of any size are cut, the engine reads the tiles, and their maps are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clipada.config import InspectionConfig
from clipada.images import restore_map
from clipada.images.tiles import JoinedMap, Tiles, plan_tiles
from clipada.types import Engine, Localization, LocalizedImage, ProductEngine, localize
from clipada.types.image_rules import rules_of

TILES_AT_ONCE = 8
"""Tiles of a forward pass."""


def image_tiles(settings: InspectionConfig, size: tuple[int, int], image: tuple[int, int]) -> Tiles:
    """Cut an image of a height and width into tiles for a model's input of a ``size``, in pixels."""
    return plan_tiles(image, size, _side(settings, size), settings.overlap)


def with_view(engine: Engine, settings: InspectionConfig) -> Engine:
    """Return the engine that reads images in the view that the settings say."""
    return TiledEngine(engine, settings) if settings.tiled else engine


def inner(engine: Engine) -> Engine:
    """Return the engine that reads the tiles, or the given one if it reads whole images."""
    return engine.engine if isinstance(engine, TiledEngine) else engine


class TiledEngine:
    """Localizes anomalies in images of any size with an engine that reads one size.

    The product is found in the whole image, and all tiles are searched in its memory. The whole image is one more view,
    in which a large defect is seen at once: at each place the higher of both maps counts, and the image score is the
    highest of all views. Memory is bounded by the joined map; see ``images.tiles``.

    Args:
        engine: Reads the tiles.
        settings: Side and overlap of the tiles.
        at_once: Tiles of a forward pass.
    """

    def __init__(self, engine: Engine, settings: InspectionConfig, at_once: int = TILES_AT_ONCE) -> None:
        self.engine = engine
        self.settings = settings
        self.at_once = at_once
        self.size, self.rules, self.passes = engine.size, rules_of(engine), engine.passes
        self.products = engine.products if isinstance(engine, ProductEngine) else ()
        self.described: dict[str, str | float] = {"view": "tiles", "tile": _side(settings, self.size)}
        self.described["overlap"] = settings.overlap

    def localize(self, images: NDArray[np.uint8], products: Sequence[str | None] | None = None) -> Localization:
        """Compute the raw maps of images ``(B, H, W, 3)`` of the model's input size, which are one tile each."""
        return localize(self.engine, images, products or [None] * len(images))

    def localize_image(
        self, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str | None = None
    ) -> LocalizedImage:
        """Compute the raw maps of one image of any size; see ``types.ImageEngine``."""
        whole = self.localize(small[np.newaxis], [product]).image(0)
        tiles = image_tiles(self.settings, self.size, (image.shape[0], image.shape[1]))
        if len(tiles) == 1:
            return whole
        product = product if whole.product is None else self.products[whole.product]
        joined, scores = JoinedMap(tiles, self.passes), [] if whole.score is None else [whole.score]
        for number, found in self._found(image, tiles, product):
            joined.add(number, found.maps)
            scores += [] if found.score is None else [found.score]
        for own, context in zip(joined.maps, whole.maps, strict=True):
            np.maximum(own, restore_map(context, tiles.joined), out=own)
        return LocalizedImage(
            maps=joined.maps,
            view=tiles.tile,
            descriptor=whole.descriptor,
            score=max(scores, default=None),
            product=whole.product,
        )

    def _found(
        self, image: NDArray[np.uint8], tiles: Tiles, product: str | None
    ) -> Iterator[tuple[int, LocalizedImage]]:
        """Yield the number of each tile and the engine's output for it."""
        for start in range(0, len(tiles), self.at_once):
            numbers = range(start, min(len(tiles), start + self.at_once))
            found = self.localize(np.stack([tiles.cut(image, number) for number in numbers]), [product] * len(numbers))
            yield from ((number, found.image(place)) for place, number in enumerate(numbers))


def _side(settings: InspectionConfig, size: tuple[int, int]) -> int:
    """Return the longer side of a tile in pixels of the image: by default that of the model's input."""
    return max(size) if settings.tile is None else settings.tile
