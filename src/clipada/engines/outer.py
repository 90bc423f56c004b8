"""Engines around another one, which change what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipada.config.image_rules import rules_of
from clipada.images.roi import RegionsOfInterest, regions_of
from clipada.types import Engine, Localization, ProductEngine, localize


class OuterEngine:
    """Has sizes, products and regions of interest of the engine that it is around, and reads small images as that does.

    Args:
        engine: Reads images of the model's input size.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.size, self.rules, self.passes = engine.size, rules_of(engine), engine.passes
        self.products = engine.products if isinstance(engine, ProductEngine) else ()

    @property
    def regions(self) -> RegionsOfInterest | None:
        """The regions of interest of the engine that it is around."""
        return regions_of(self.engine)

    def localize(
        self,
        images: NDArray[np.uint8],
        products: Sequence[str | None] | None = None,
        inside: NDArray[np.bool_] | None = None,
    ) -> Localization:
        """Compute the raw maps of images ``(B, H, W, 3)`` of the model's input size: tiles, or aligned images."""
        return localize(self.engine, images, products or [None] * len(images), inside)
