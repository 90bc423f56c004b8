"""Engines, and what they find in images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError
from clipada.types.placement import Placement


@dataclass(frozen=True, kw_only=True)
class LocalizedImage:
    """The output of an engine for one image.

    Attributes:
        maps: Raw maps of every pass, ``(passes, h, w)`` float32, values 0..1, coarse pass first: of the model's input
            size, or joined of tiles.
        view: Height and width, in pixels of the maps, of what the model sees at once, to which the settings of scoring
            refer: the maps' own, or those of a tile.
        descriptor: A vector of unit length, ``(D,)`` float32; ``None`` for an engine that has none.
        score: Image score, 0..1, of an engine that has its own; else it is computed from the maps.
        product: Number of the product whose memory was searched; ``None`` without a memory.
        placement: Place of the part in the image, which was moved into the frame of its product's reference; the maps
            have been moved back. ``None`` for an image that was taken as it is.
        seen: Such an image in that frame, at the model's input size, ``(H, W, 3)`` uint8.
    """

    maps: NDArray[np.float32]
    view: tuple[int, int]
    descriptor: NDArray[np.float32] | None = None
    score: float | None = None
    product: int | None = None
    placement: Placement | None = None
    seen: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.maps.shape[1], self.maps.shape[2]


@dataclass(frozen=True, kw_only=True)
class Localization:
    """The output of an engine for a batch of images.

    Attributes:
        maps: Raw maps of every pass, ``(passes, B, H, W)`` float32, values 0..1, coarse pass first.
        descriptors: One vector of unit length for each image, ``(B, D)`` float32, by which it is compared with the
            training images; ``None`` for an engine that has none.
        scores: Image scores, ``(B,)``, 0..1, of an engine that has its own; else they are computed from the maps.
        products: Numbers of the products whose memory was searched, ``(B,)``; ``None`` without a memory.
    """

    maps: NDArray[np.float32]
    descriptors: NDArray[np.float32] | None = None
    scores: NDArray[np.float64] | None = None
    products: NDArray[np.int64] | None = None

    def score(self, index: int) -> float | None:
        """Return the engine's own score of an image; ``None`` if its score is that of its final map."""
        return None if self.scores is None else float(self.scores[index])

    def image(self, index: int) -> LocalizedImage:
        """Return the output for one image of the batch."""
        height, width = self.maps.shape[2:]
        return LocalizedImage(
            maps=self.maps[:, index],
            view=(height, width),
            descriptor=None if self.descriptors is None else self.descriptors[index],
            score=self.score(index),
            product=None if self.products is None else int(self.products[index]),
        )


class Engine(Protocol):
    """Anything that localizes anomalies in images of the model's input size."""

    size: tuple[int, int]
    """Height ``H`` and width ``W`` of the images it takes, in pixels."""

    rules: ImageRules
    """Rules by which image files are read for it."""

    passes: int
    """Number of maps it makes: the coarse one and the refined ones."""

    def localize(self, images: NDArray[np.uint8]) -> Localization:
        """Compute the raw maps of every pass, and descriptors.

        Args:
            images: RGB, ``(B, H, W, 3)``.
        """
        ...


@runtime_checkable
class ProductEngine(Protocol):
    """An engine that finds the product of an image, or is given it."""

    products: tuple[str, ...]
    """Names of the products that it knows; none without a memory."""

    def localize(
        self,
        images: NDArray[np.uint8],
        products: Sequence[str | None] | None = None,
        inside: NDArray[np.bool_] | None = None,
    ) -> Localization:
        """Compute the raw maps of images, with a memory.

        Args:
            images: RGB, ``(B, H, W, 3)``.
            products: Their products where they are known; others are found.
            inside: Region of interest in each image, ``(B, H, W)``, where it is not that of its product: in tiles.
        """
        ...


@runtime_checkable
class ImageEngine(Protocol):
    """An engine that reads images at their own size, whatever it is."""

    described: Mapping[str, str | float]
    """The view that it reads, for the record."""

    def localize_image(
        self, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str | None = None
    ) -> LocalizedImage:
        """Compute the raw maps of one image.

        Args:
            image: RGB, ``(height, width, 3)``.
            small: The same image at the model's input size, ``(H, W, 3)``.
            product: Its product, if it is known.

        Raises:
            AlignmentError: The image does not fit the reference of its product.
        """
        ...


def localize(
    engine: Engine,
    images: NDArray[np.uint8],
    products: Sequence[str | None],
    inside: NDArray[np.bool_] | None = None,
) -> Localization:
    """Compute the raw maps of images ``(B, H, W, 3)``; products and regions count where the engine has a memory."""
    if isinstance(engine, ProductEngine) and engine.products:
        return engine.localize(images, products) if inside is None else engine.localize(images, products, inside)
    return engine.localize(images)


def localize_images(
    engine: Engine,
    small: NDArray[np.uint8],
    originals: Sequence[NDArray[np.uint8]],
    products: Sequence[str | None] | None = None,
) -> list[LocalizedImage | ImageError]:
    """Compute the raw maps of images in the view that the engine reads; the error of an image that it cannot place.

    Args:
        engine: The engine.
        small: The images at its input size, ``(B, H, W, 3)``.
        originals: The images at their own sizes; they may be missing unless it is an ``ImageEngine``.
        products: Their products, which count where the engine knows them; ``None`` to find them all.
    """
    if not len(small):
        return []
    named = [None] * len(small) if products is None else products
    if isinstance(engine, ImageEngine):
        return [_localized(engine, *one) for one in zip(originals, small, named, strict=True)]
    found = localize(engine, small, named)
    return [found.image(index) for index in range(len(small))]


def require_localized(found: LocalizedImage | ImageError) -> LocalizedImage:
    """Return what was found in an image; raise the error of one that does not fit its product's reference."""
    if isinstance(found, ImageError):
        raise found
    return found


def _localized(
    engine: ImageEngine, image: NDArray[np.uint8], small: NDArray[np.uint8], product: str | None
) -> LocalizedImage | ImageError:
    try:
        return engine.localize_image(image, small, product)
    except ImageError as error:
        return error


def product_numbers(known: Sequence[str], products: Sequence[str | None]) -> NDArray[np.int64]:
    """Return the position of each product among those ``known``; -1 for others, which are to be found, ``(B,)``."""
    return np.array([known.index(one) if one in known else -1 for one in products], np.int64)
