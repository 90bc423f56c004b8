"""Recording of training images for the input check, while the engine localizes them for another purpose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipada.calibration.image_statistics import image_statistics
from clipada.calibration.input_check import ProductInputs
from clipada.types import Engine, LocalizedImage

BLANK = (0, 128, 255)
"""Gray levels of the images without content, from which the scale of descriptor distances is taken."""


class InputRecorder:
    """Statistics and descriptors of training images, by product."""

    def __init__(self) -> None:
        self._statistics: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        self._descriptors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)

    def add(self, product: str, images: NDArray[np.uint8], found: Sequence[LocalizedImage]) -> None:
        """Record a batch of images ``(B, H, W, 3)`` of a product, and what an engine has found in each."""
        self.add_described(product, images, [one.descriptor for one in found if one.descriptor is not None])

    def add_described(
        self, product: str, images: NDArray[np.uint8], descriptors: Iterable[NDArray[np.float32]]
    ) -> None:
        """Record images ``(B, H, W, 3)`` of a product, and their descriptors, each ``(D,)``."""
        self._statistics[product] += map(image_statistics, images)
        self._descriptors[product] += list(descriptors)

    def products(self, engine: Engine) -> dict[str, ProductInputs]:
        """Return what was recorded of each product; ``engine`` describes images without content for comparison."""
        height, width = engine.size
        flat = np.stack([np.full((height, width, 3), level, np.uint8) for level in BLANK])
        blank = engine.localize(flat).descriptors if any(self._descriptors.values()) else None
        return {
            product: ProductInputs(
                statistics=np.stack(values),
                descriptors=np.stack(self._descriptors[product]) if blank is not None else None,
                blank=blank,
            )
            for product, values in self._statistics.items()
        }
