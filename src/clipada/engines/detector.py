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
    """

    passes = 1

    def __init__(
        self,
        graph: RuntimeGraph,
        shape: GraphShape,
        products: Sequence[str],
        streams: int = EngineOptions.streams,
        rules: ImageRules = DEFAULT_RULES,
    ) -> None:
        self.size, self.rules = shape.size, rules
        self.regions: RegionsOfInterest | None = None
        self.products = tuple(products)
        self._graph = graph
        self._streams = streams
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None

    def localize(self, images: NDArray[np.uint8], products: Sequence[str | None] | None = None) -> Localization:
        """Compute the raw map, descriptors, image scores and products.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8.
            products: Names of the products they show, where they are known.
        """
        numbers = product_numbers(self.products, products or [None] * len(images))
        parts = min(self._streams, len(images))
        cut = zip(np.array_split(images, parts), np.array_split(numbers, parts), strict=True)
        inputs: list[Mapping[str, NDArray[Any]]] = [dict(zip(INPUTS, part, strict=True)) for part in cut]
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
