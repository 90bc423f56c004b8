"""Shapes of synthetic anomalies, and the places where they are drawn.

Lengths are in pixels and were chosen on images of 322 x 322.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from clipada.config import SynthesisConfig
from clipada.synthesis.blending import Pixels
from clipada.synthesis.draem import draw_masks
from clipada.types import Mask

Size = tuple[int, int]

ON_PART = 0.6
"""Share of the places drawn where the image has contrast, which is on the part rather than the background."""

TRIES = 8
"""Number of Perlin fields drawn until one exceeds the threshold somewhere."""

MOST_PATCHES = 6
"""Most connected patches of a Perlin field that are kept."""

WOBBLES = (0.005, 0.03, 0.12)
"""Deviations of a line's turn at each pixel, in radians: nearly straight, curved, crooked."""


def draw_length(low: float, high: float, rng: Generator) -> float:
    """Draw a length whose logarithm is uniform from ``low`` to ``high``."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def torch_generator(rng: Generator) -> torch.Generator:
    """Return a generator of PyTorch, seeded from ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**31)))


def smooth_noise(size: Size, sigma: float, rng: Generator) -> Pixels:
    """Draw Gaussian noise ``(H, W)``, blurred by ``sigma`` pixels, of deviation 1."""
    noise: Pixels = gaussian_filter(rng.standard_normal(size), sigma)
    return noise / max(float(noise.std()), 1e-12)


def place(image: Pixels, rng: Generator) -> tuple[int, int]:
    """Draw a row and a column: ``ON_PART`` of the time by local contrast, else anywhere.

    Args:
        image: ``(3, H, W)``.
        rng: Source of all randomness.
    """
    height, width = image.shape[1:]
    if rng.random() < ON_PART and (total := (contrast := _local_contrast(image)).sum()) > 0:
        drawn = int(np.searchsorted((contrast / total).cumsum(), rng.random()))
        row, column = divmod(min(drawn, height * width - 1), width)
        return row, column
    return int(rng.integers(height)), int(rng.integers(width))


def blob(center: tuple[int, int], radius: float, size: Size, rng: Generator) -> Mask:
    """Draw an ellipse about ``center`` (row, column) with a ragged border, its longer radius about ``radius`` pixels.

    Returns:
        ``(H, W)``, cut off at the image's border.
    """
    down, across = offsets(center, size)
    angle, narrowing = rng.uniform(0, math.pi), rng.uniform(0.5, 1)
    long_axis = across * math.cos(angle) + down * math.sin(angle)
    short_axis = (down * math.cos(angle) - across * math.sin(angle)) / narrowing
    distance = np.hypot(long_axis, short_axis) / radius
    ragged: Mask = distance + 0.35 * smooth_noise(size, max(0.4 * radius, 1), rng) < 1
    return ragged


def line(center: tuple[float, float], length: float, width: float, size: Size, rng: Generator) -> Pixels:
    """Draw a line whose direction is random and wanders.

    Args:
        center: Row and column of its middle.
        length: In pixels.
        width: In pixels.
        size: Height and width of the image.
        rng: Source of all randomness.

    Returns:
        ``(H, W)``: the share of each pixel that the line covers, 0..1. All 0 if it is outside the image.
    """
    steps = max(int(length), 4)
    direction = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, rng.choice(WOBBLES), steps))
    rows, columns = np.sin(direction).cumsum(), np.cos(direction).cumsum()
    rows += center[0] - rows[steps // 2]
    columns += center[1] - columns[steps // 2]
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    if not inside.any():
        return np.zeros(size)
    off_axis = np.ones(size, dtype=bool)
    off_axis[rows[inside].astype(int), columns[inside].astype(int)] = False
    return np.clip(width / 2 + 0.5 - distance_transform_edt(off_axis), 0, 1)


def region(image: Pixels, rng: Generator) -> Mask:
    """Draw an area ``(H, W)`` in ``image`` ``(3, H, W)``: a blob, or an upright rectangle as in CutPaste."""
    size = (image.shape[1], image.shape[2])
    row, column = place(image, rng)
    if rng.random() < 0.5:
        return blob((row, column), draw_length(4, 40, rng), size, rng)
    height, width = draw_length(6, 70, rng), draw_length(6, 70, rng)
    top, left = max(0, int(row - height / 2)), max(0, int(column - width / 2))
    area = np.zeros(size, dtype=bool)
    area[top : int(row + height / 2) + 1, left : int(column + width / 2) + 1] = True
    return area


def perlin_area(size: Size, rng: Generator) -> Mask:
    """Draw a mask of DRAEM ``(H, W)``, rotated Perlin noise above a threshold, and keep some of its patches.

    It is empty if none of ``TRIES`` fields exceeds the threshold.
    """
    config = SynthesisConfig(anomaly_probability=1)
    for _ in range(TRIES):
        area: Mask = draw_masks(1, size, config, torch_generator(rng))[0, 0].numpy() > 0
        if area.any():
            return _some_patches(area, rng)
    return area


def offsets(center: tuple[int, int], size: Size) -> tuple[Pixels, Pixels]:
    """Return how far each pixel is below and to the right of ``center`` (row, column): two of ``(H, W)``."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    return rows - center[0], columns - center[1]


def _some_patches(area: Mask, rng: Generator) -> Mask:
    """Keep 1 to ``MOST_PATCHES`` of the connected patches of ``area``, or all if it has just one."""
    numbers, count = label(area)
    if count <= 1:
        return area
    kept = rng.permutation(count)[: int(rng.integers(1, min(count, MOST_PATCHES) + 1))] + 1
    return np.isin(numbers, kept)


def _local_contrast(image: Pixels) -> Pixels:
    """Return the smoothed absolute difference ``(H, W)`` of the gray values from their blurred copy."""
    gray = image.mean(0)
    contrast: Pixels = gaussian_filter(np.abs(gray - gaussian_filter(gray, 4)), 6)
    return contrast
