"""Alignment before any engine: images are moved into the frame of their product's reference, and their maps back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipada.engines.outer import OuterEngine
from clipada.images import resize
from clipada.images.alignment import Alignment, Placed
from clipada.images.placing import maps_from_reference
from clipada.types import (
    Engine,
    ImageEngine,
    LocalizedImage,
    localize_images,
    require_localized,
)


def with_alignment(engine: Engine, alignment: Alignment | None) -> Engine:
    """Return the engine that aligns images first, if there is an alignment."""
    return engine if alignment is None else AlignedEngine(engine, alignment)


def unaligned(engine: Engine) -> Engine:
    """Return the engine that reads the aligned images, or the given one if it aligns none."""
    return engine.engine if isinstance(engine, AlignedEngine) else engine


def alignment_of(engine: Engine) -> Alignment | None:
    """Return the alignment of an engine; ``None`` if it aligns no image."""
    return engine.alignment if isinstance(engine, AlignedEngine) else None


class AlignedEngine(OuterEngine):
    """Localizes anomalies in images whose parts are not as in the reference.

    The product is given, or found in the image as it is. The image is moved into the frame of the product's reference,
    where the engine reads it; its maps are moved back, so that all of a verdict is in the pixels of the image. What the
    image does not show is taken from the reference. Outside of the frame, the maps are 0.

    Args:
        engine: Reads the aligned images, whole or in tiles.
        alignment: The references.
    """

    def __init__(self, engine: Engine, alignment: Alignment) -> None:
        super().__init__(engine)
        self.alignment = alignment
        view: Mapping[str, str | float] = engine.described if isinstance(engine, ImageEngine) else {"view": "whole"}
        self.described = {**view, "align": alignment.motion}

    def localize_image(
        self, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str | None = None
    ) -> LocalizedImage:
        """Compute the raw maps of one image of any size; see ``types.ImageEngine``."""
        product = self._product(small, product)
        placed = self._placed(image, product)
        if placed is None:
            return self._localized(image, small, product)
        seen, placement = resize(placed.image, self.size), placed.placement
        found = self._localized(placed.image, seen, product)
        return replace(found, maps=maps_from_reference(found.maps, placement), placement=placement, seen=seen)

    def placed(self, image: NDArray[np.uint8], small: NDArray[np.uint8]) -> Placed | None:
        """Move an image of any size into the frame of the reference of its product; ``None`` if there is none.

        Args:
            image: RGB, ``(height, width, 3)``.
            small: The same image at the model's input size, ``(H, W, 3)``.

        Raises:
            AlignmentError: The image does not fit.
        """
        return self._placed(image, self._product(small, None))

    def _placed(self, image: NDArray[np.uint8], product: str) -> Placed | None:
        return self.alignment.placed(product, image) if product in self.alignment.references else None

    def _product(self, small: NDArray[np.uint8], given: str | None) -> str:
        """Return the product of an image at the model's input size."""
        if given in self.products:
            return str(given)
        if len(self.products) == 1:
            return self.products[0]
        number = self.localize(small[np.newaxis]).image(0).product
        return self.products[number or 0]

    def _localized(self, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str) -> LocalizedImage:
        return require_localized(localize_images(self.engine, small[np.newaxis], [image], [product])[0])
