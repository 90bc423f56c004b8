"""Ten kinds of synthetic anomalies, drawn one at a time into a good image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from clipada.errors import ImageError
from clipada.synthesis.blending import Drawn, Pixels
from clipada.synthesis.structure import deform, erase, paste_other, paste_same
from clipada.synthesis.surface import blur, crack, light, perlin_texture, scratches, spots
from clipada.types import Mask

AnomalyKind = Literal[
    "perlin", "spots", "scratch", "paste_same", "paste_other", "erase", "warp", "light", "blur", "crack"
]
"""A kind of synthetic anomaly."""

KINDS: Mapping[AnomalyKind, Callable[[Pixels, Pixels, Generator], Drawn]] = MappingProxyType(
    {
        "perlin": perlin_texture,
        "spots": spots,
        "scratch": scratches,
        "paste_same": paste_same,
        "paste_other": paste_other,
        "erase": erase,
        "warp": deform,
        "light": light,
        "blur": blur,
        "crack": crack,
    }
)
"""Kinds by name: from a good image, another one and a source of randomness to an image with an anomaly and its mask."""

TRIES = 8
"""Number of anomalies drawn until one is visible."""

FEWEST_PIXELS = 8
"""Fewest pixels of a mask."""

LARGEST_SHARE = 0.4
"""The share of the image that a mask stays below."""


def draw_anomaly(
    kind: AnomalyKind, image: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], Mask]:
    """Draw one anomaly into a good image.

    Args:
        kind: One of ``KINDS``.
        image: ``(3, H, W)`` of range 0..1; not modified.
        other: Another good image of the same shape and range, of the same product or another one; not modified.
        rng: Source of all randomness.

    Returns:
        image: ``(3, H, W)`` float32 of range 0..1, a new array. Around the mask it may fade into the good image.
        mask: ``(H, W)``, true where the change exceeds the kind's limit of visibility (`surface`, `structure`). It has
            at least ``FEWEST_PIXELS`` pixels and covers less than ``LARGEST_SHARE`` of the image, or it is empty and
            the image unchanged if no such anomaly was drawn in ``TRIES`` tries.

    Raises:
        ImageError: The images are not of one shape ``(3, H, W)``, or not of floats.
    """
    _require_pair(image, other)
    good, source = image.astype(np.float64), other.astype(np.float64)
    for _ in range(TRIES):
        drawn, mask = KINDS[kind](good, source, rng)
        if mask.sum() >= FEWEST_PIXELS and mask.mean() < LARGEST_SHARE:
            return np.clip(drawn, 0, 1).astype(np.float32), mask
    return image.astype(np.float32), np.zeros(image.shape[1:], dtype=bool)


def _require_pair(image: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    """Raise unless both images are floats of one shape ``(3, H, W)``."""
    fits = image.ndim == 3 and image.shape[0] == 3 and image.shape == other.shape
    if not fits or image.dtype.kind != "f" or other.dtype.kind != "f":
        raise ImageError(
            "cannot draw an anomaly into this image",
            expected="two images of float values 0..1 of one shape (3, H, W)",
            got=f"{image.dtype} of shape {image.shape} and {other.dtype} of shape {other.shape}",
        )
