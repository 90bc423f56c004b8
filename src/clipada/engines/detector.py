"""A graph that contains memory and filter, in any runtime: one pass per image. No PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipada.config import EngineOptions
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.engines.passes import GraphShape, RuntimeGraph
from clipada.images.roi import RegionsOfInterest
from clipada.types import Localization, product_numbers

INPUTS = ["images", "products"]
"""Names of the graph's inputs: RGB ``(B, H, W, 3)`` uint8, and numbers of products ``(B,)`` int64, -1 to find them."""

INSIDE = "inside"
"""Name of a further input of runs with tiles and a region of interest: ``(B, H, W)`` int8, 1 inside of it, 0 outside;
-1 for the region of the product."""

OUTPUTS = ["maps", "scores", "descriptors", "found"]
"""Names of its outputs: ``(B, H, W)``, ``(B,)``, ``(B, D)`` float32, and the products' numbers ``(B,)`` int64."""


class DetectorEngine:
    """Localizes anomalies with one graph of vision tower, memory and filter.

    Args:
        graph: The exported graph in a runtime.
        shape: Its sizes.
        products: Names of the products in its memory.
        streams: Number of parts of a batch that run in parallel.
        rules: Rules by which image files are read for it.
        given_inside: True if the graph takes regions of interest.
    """

    passes = 1

    def __init__(
        self,
        graph: RuntimeGraph,
        shape: GraphShape,
        products: Sequence[str],
        streams: int = EngineOptions.streams,
        rules: ImageRules = DEFAULT_RULES,
        given_inside: bool = False,
    ) -> None:
        self.size, self.rules = shape.size, rules
        self.regions: RegionsOfInterest | None = None
        self.products = tuple(products)
        self._given_inside = given_inside
        self._graph = graph
        self._streams = streams
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None

    def localize(
        self,
        images: NDArray[np.uint8],
        products: Sequence[str | None] | None = None,
        inside: NDArray[np.bool_] | None = None,
    ) -> Localization:
        """Compute the raw map, descriptors, image scores and products.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8.
            products: Names of the products they show, where they are known.
            inside: As for ``types.ProductEngine``.
        """
        given = detector_inputs(images, product_numbers(self.products, products or [None] * len(images)))
        if self._given_inside:
            given |= inside_input(images, inside)
        parts = min(self._streams, len(images))
        cut = zip(*(np.array_split(values, parts) for values in given.values()), strict=True)
        inputs: list[Mapping[str, NDArray[Any]]] = [dict(zip(given, part, strict=True)) for part in cut]
        found = (
            [self._graph(one) for one in inputs] if self._pool is None else list(self._pool.map(self._graph, inputs))
        )
        maps, scores, descriptors, places = (np.concatenate([one[name] for one in found]) for name in OUTPUTS)
        return Localization(
            maps=maps[np.newaxis],
            descriptors=descriptors,
            scores=scores.astype(np.float64),
            products=places.astype(np.int64),
        )


def detector_inputs(images: NDArray[np.uint8], products: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a graph by name: images ``(B, H, W, 3)``, and numbers of their products ``(B,)``."""
    return dict(zip(INPUTS, (images, products), strict=True))


def inside_input(images: NDArray[np.uint8], inside: NDArray[np.bool_] | None) -> dict[str, NDArray[np.int8]]:
    """Return the regions of interest ``(B, H, W)`` in images as a graph takes them; ``None`` for their products'."""
    shape = images.shape[:3]
    return {INSIDE: np.full(shape, -1, np.int8) if inside is None else inside.astype(np.int8)}
