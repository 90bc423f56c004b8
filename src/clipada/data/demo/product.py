"""A product: how a good part is drawn, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.random import Generator

from clipada.data.demo.brush import SIDE
from clipada.data.demo.camera import Camera, Surface
from clipada.types import Image, Mask

VISIBLE = 10
"""From this many levels of 255 on, in any channel, two pixels are different to the eye."""

SMALLEST = 24
"""A defect covers at least this many pixels."""

GOOD = "good"


@dataclass(frozen=True)
class Part:
    """One photographed part.

    Attributes:
        image: What the camera saw.
        mask: Where it differs from the photograph of the same part without its defect; empty for a good part.
    """

    image: Image = field(repr=False)
    mask: Mask = field(repr=False)


@dataclass(frozen=True)
class Product:
    """A product of the demo.

    Attributes:
        name: Its category.
        draw: Draws a good part: its pose, its texture, its color.
        surface: What that part looks like.
        defects: For each kind of defect, what the part looks like with one.
    """

    name: str
    draw: Callable[[Generator], Any]
    surface: Callable[[Any], Surface]
    defects: Mapping[str, Callable[[Any, Generator], Surface]]

    def part(self, seed: int, split: str, kind: str = GOOD, index: int = 0) -> Part:
        """Photograph one part.

        Args:
            seed: Another seed, other parts.
            split: ``"train"``, ``"test"`` or ``"held-out"``.
            kind: ``"good"``, or the kind of its defect.
            index: Which of these parts. The same four arguments always give the same part.
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
    """Where two pictures visibly differ: without stray pixels, gaps between threads or grains closed."""
    apart = np.abs(image.astype(np.int16) - other).max(axis=-1)
    disc = scipy.ndimage.iterate_structure(scipy.ndimage.generate_binary_structure(2, 1), 3)
    solid = scipy.ndimage.binary_closing(np.pad(apart >= VISIBLE, 4), disc)[4:-4, 4:-4]
    labels, count = scipy.ndimage.label(solid, np.ones((3, 3)))
    sizes = scipy.ndimage.sum_labels(solid, labels, np.arange(1, count + 1))
    kept: Mask = np.isin(labels, 1 + np.flatnonzero(sizes >= 6))
    return kept
