"""Blending of a changed image into an area, and the part of the area where the change is visible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from clipada.types import Mask

Pixels = NDArray[np.floating[Any]]
"""An image ``(3, H, W)`` or one plane ``(H, W)`` of floats."""

Drawn = tuple[Pixels, Mask]
"""An image ``(3, H, W)`` with an anomaly, and its mask ``(H, W)``."""

WINDOW = 9
"""Side in pixels of the window over which the change of an area is averaged."""

THIN_WINDOW = 3
"""The same for marks so thin or small that a wider window would mostly average their surroundings."""


def mix(image: Pixels, changed: Pixels, share: Pixels | Mask) -> Pixels:
    """Return ``(1 - share) * image + share * changed``, as a new array.

    Args:
        image: ``(3, H, W)``.
        changed: ``(3, H, W)``, or of a shape that broadcasts to it.
        share: ``(H, W)`` of range 0..1.
    """
    blended: Pixels = image * (1.0 - share) + changed * share
    return blended


def softened(area: Mask, sigma: float) -> Pixels:
    """Return ``area`` ``(H, W)`` as a share of range 0..1, its border blurred by a Gaussian of ``sigma`` pixels."""
    share: Pixels = gaussian_filter(area.astype(float), sigma)
    return share


def visible_part(image: Pixels, changed: Pixels, area: Mask, limit: float, window: int = WINDOW) -> Mask:
    """Return the part of ``area`` where a change is visible.

    Background copied onto the same background is no anomaly (cf. NSA, Schlueter et al., ECCV 2022, section 3.2).

    Args:
        image: ``(3, H, W)`` of range 0..1.
        changed: ``(3, H, W)``.
        area: ``(H, W)``.
        limit: Absolute difference, averaged over channels and window, that a visible change exceeds.
        window: Side of the window, in pixels.
    """
    difference = uniform_filter(np.abs(image - changed).mean(0), window)
    return area & (difference > limit)
