"""Tiles before any engine: images of any size are cut, the engine reads the tiles, and their maps are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from clipada.config import InspectionConfig
from clipada.engines.outer import OuterEngine
from clipada.images.tiles import JoinedMap, Tiles, plan_tiles
from clipada.types import Engine, LocalizedImage, Mask, ignored

OnTiles = Callable[[int, int, int], object]
"""Receives the numbers of tiles of an image that are done, of those to be read, and of those that are skipped, as they
show nothing of the region of interest."""

TILES_AT_ONCE = 4
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


class TiledEngine(OuterEngine):
    """Localizes anomalies in images of any size with an engine that reads one size.

    The product is found in the whole image, and all tiles are searched in its memory. The map is that of the tiles; the
    image score is the highest of all views, of which the whole image is one, so that a large defect is seen at once.
    Memory is bounded by the joined map; see ``images.tiles``. Of a region of interest, each tile counts what it shows;
    tiles that show nothing of it are not read, and their map is 0.

    Capsule of MVTec AD at 1000 pixels, small synthetic defects on held-out good parts: the pixel AP is 3.2 of whole
    images, 41.1 of tiles, 37.0 of the higher of both, 27.9 of their mean; the image AUROC is 65.8 of whole images, 75.5
    of the highest tile, and as much of the highest view.

    Args:
        engine: Reads the tiles.
        settings: Side and overlap of the tiles.
        at_once: Tiles of a forward pass.
    """

    on_tiles: OnTiles = ignored
    """Called after each forward pass."""

    def __init__(self, engine: Engine, settings: InspectionConfig, at_once: int = TILES_AT_ONCE) -> None:
        super().__init__(engine)
        self.settings = settings
        self.at_once = at_once
        self.described: dict[str, str | float] = {"view": "tiles", "tile": _side(settings, self.size)}
        self.described["overlap"] = settings.overlap

    def localize_image(
        self, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str | None = None
    ) -> LocalizedImage:
        """Compute the raw maps of one image of any size; see ``types.ImageEngine``."""
        whole = self.localize(small[np.newaxis], [product]).image(0)
        product = product if whole.product is None else self.products[whole.product]
        tiles, region = self.planned(image, product)
        if len(tiles) == 1:
            return whole
        joined, scores = JoinedMap(tiles, self.passes), [] if whole.score is None else [whole.score]
        for number, found in self._found(image, tiles, region, product):
            joined.add(number, found.maps)
            scores += [] if found.score is None else [found.score]
        return LocalizedImage(
            maps=joined.maps,
            view=tiles.tile,
            descriptor=whole.descriptor,
            score=max(scores, default=None),
            product=whole.product,
        )

    def planned(self, image: NDArray[np.uint8], product: str | None) -> tuple[Tiles, Mask | None]:
        """Cut an image of a product into tiles; return also its region of interest, of the size of the joined map."""
        tiles = image_tiles(self.settings, self.size, (image.shape[0], image.shape[1]))
        return tiles, None if self.regions is None else self.regions.inside(product, tiles.joined)

    def _found(
        self, image: NDArray[np.uint8], tiles: Tiles, region: Mask | None, product: str | None
    ) -> Iterator[tuple[int, LocalizedImage]]:
        """Yield the number of each tile that is read and the engine's output for it."""
        shown = tiles.shown(region)
        for start in range(0, len(shown), self.at_once):
            numbers = shown[start : start + self.at_once]
            cut = np.stack([tiles.cut(image, number) for number in numbers])
            inside = None if region is None else np.stack([tiles.cut_region(region, number) for number in numbers])
            found = self.localize(cut, [product] * len(numbers), inside)
            yield from ((number, found.image(place)) for place, number in enumerate(numbers))
            self.on_tiles(start + len(numbers), len(shown), len(tiles) - len(shown))


def _side(settings: InspectionConfig, size: tuple[int, int]) -> int:
    """Return the longer side of a tile in pixels of the image: by default that of the model's input."""
    return max(size) if settings.tile is None else settings.tile
