"""Product of the demo: functions that draw a good part and its defects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.random import Generator

from clipada.data.demo.camera import Camera, Surface
from clipada.data.demo.drawing import SIDE
from clipada.types import Image, Mask

VISIBLE = 10
"""Difference in any channel, in levels of 255, from which two pixels count as visibly different."""

SMALLEST = 24
"""Smallest number of pixels that a defect covers."""

GOOD = "good"


@dataclass(frozen=True)
class Part:
    """Photographed part.

    Attributes:
        image: Photograph.
        mask: Pixels that differ from a photograph of the same part without the defect; empty for a good part.
    """

    image: Image = field(repr=False)
    mask: Mask = field(repr=False)


@dataclass(frozen=True)
class Product:
    """Product of the demo.

    Attributes:
        name: Category.
        draw: Function that draws a good part: pose, texture, color.
        surface: Function that returns the part's surface.
        defects: For each kind of defect, function that returns the surface of the part with such a defect.
    """

    name: str
    draw: Callable[[Generator], Any]
    surface: Callable[[Any], Surface]
    defects: Mapping[str, Callable[[Any, Generator], Surface]]

    def part(self, seed: int, split: str, kind: str = GOOD, index: int = 0) -> Part:
        """Photograph one part.

        Args:
            seed: Seed of all random draws.
            split: ``"train"``, ``"test"`` or ``"held-out"``.
            kind: ``"good"``, or the kind of defect.
            index: Number of the part. The same four arguments always give the same part.
        """
        rng = np.random.default_rng([seed, *f"{self.name}/{split}/{kind}/{index}".encode()])
        part, camera = self.draw(rng), Camera.draw(rng)
        image = camera.photograph(self.surface(part))
        if kind == GOOD:
            return Part(image, np.zeros((SIDE, SIDE), dtype=bool))
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        while mask.sum() < SMALLEST:
            defective = camera.photograph(self.defects[kind](part, rng))
            mask = _difference(image, defective)
        return Part(np.where(mask[..., None], defective, image), mask)


def _difference(image: Image, other: Image) -> Mask:
    """Mask the pixels where two pictures visibly differ: stray pixels removed, gaps between threads closed."""
    apart = np.abs(image.astype(np.int16) - other).max(axis=-1)
    disc = scipy.ndimage.iterate_structure(scipy.ndimage.generate_binary_structure(2, 1), 3)
    solid = scipy.ndimage.binary_closing(np.pad(apart >= VISIBLE, 4), disc)[4:-4, 4:-4]
    labels, count = scipy.ndimage.label(solid, np.ones((3, 3)))
    sizes = scipy.ndimage.sum_labels(solid, labels, np.arange(1, count + 1))
    kept: Mask = np.isin(labels, 1 + np.flatnonzero(sizes >= 6))
    return kept
