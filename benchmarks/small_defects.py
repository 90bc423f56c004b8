"""Small synthetic defects for choosing settings; they share no code with the synthesis of the training.

Each covers at most half a percent of the image, on the product: scratches, spots, stains, parts copied from elsewhere
in the image, parts rotated in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_opening, uniform_filter

from clipada.types import Mask

Pixels = NDArray[np.float32]
Point = tuple[float, float]

VISIBLE = 0.02
"""Smallest change, averaged over 3 x 3 pixels, of a pixel that belongs to the defect."""

SMALLEST = 6
"""Smallest number of pixels of a defect."""


def draw_small_defect(image: Pixels, rng: Generator) -> tuple[Pixels, Mask]:
    """Draw one defect on the product.

    Args:
        image: ``(H, W, 3)``, of range 0..1.
        rng: Source of all randomness.

    Returns:
        The changed image and its mask ``(H, W)``; the image itself and an empty mask if the change is invisible.
    """
    rows, columns = np.nonzero(product(image))
    at = rng.integers(len(rows))
    center = (float(columns[at]), float(rows[at]))
    outline, change = DEFECTS[rng.integers(len(DEFECTS))]
    area = outline(center, image.shape[:2], rng)
    changed = np.where(area[..., None], change(image, center, rng), image).astype(np.float32)
    mask = area & (uniform_filter(np.abs(changed - image).mean(axis=-1), 3) > VISIBLE)
    return (changed, mask) if mask.sum() >= SMALLEST else (image, np.zeros_like(mask))


def product(image: Pixels) -> Mask:
    """Mask the product ``(H, W)``: pixels that differ from the median of the image's edge; all if none differs."""
    edge = np.concatenate((image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3), *image[:, :8], *image[:, -8:]))
    found: Mask = binary_opening(np.abs(image - np.median(edge, axis=0)).mean(axis=-1) > 0.12, iterations=2)
    return found if found.mean() > 0.01 else np.ones_like(found)


def _line(center: Point, size: tuple[int, ...], rng: Generator) -> Mask:
    """Draw a curved line, 15 to 70 pixels long, 1 to 3 wide."""
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, rng.integers(15, 71)))
    points = np.array(center) + np.cumsum(np.stack((np.cos(heading), np.sin(heading)), axis=1), axis=0)
    canvas = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(canvas).line([tuple(point) for point in points], fill=1, width=int(rng.integers(1, 4)))
    return np.asarray(canvas)


def _blob(center: Point, size: tuple[int, ...], rng: Generator) -> Mask:
    """Draw an irregular spot of 3 to 11 pixels in radius."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, 10))
    radii = rng.uniform(3, 11) * rng.uniform(0.5, 1.3, 10)
    return _polygon(np.array(center) + radii[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1), size)


def _rectangle(center: Point, size: tuple[int, ...], rng: Generator) -> Mask:
    """Draw a rotated rectangle with sides of 6 to 24 pixels."""
    corners = rng.uniform(6, 24, 2) / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    turn = rng.uniform(0, np.pi)
    rotation = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return _polygon(np.array(center) + corners @ rotation, size)


def _polygon(points: NDArray[np.float64], size: tuple[int, ...]) -> Mask:
    canvas = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=1)
    return np.asarray(canvas)


def _lighter_or_darker(image: Pixels, _center: Point, rng: Generator) -> Pixels:
    changed: Pixels = np.clip(image + rng.choice([-1, 1]) * np.float32(rng.uniform(0.15, 0.5)), 0, 1)
    return changed


def _stained(image: Pixels, _center: Point, rng: Generator) -> Pixels:
    strength = np.float32(rng.uniform(0.3, 0.8))
    return image * (1 - strength) + strength * rng.uniform(0, 1, 3).astype(np.float32)


def _moved(image: Pixels, _center: Point, rng: Generator) -> Pixels:
    down, across = (int(step) for step in rng.integers(-60, 61, 2))
    return np.roll(image, (down, across), axis=(0, 1))


def _turned(image: Pixels, center: Point, rng: Generator) -> Pixels:
    height, width, _ = image.shape
    x, y = np.meshgrid(np.arange(width) - center[0], np.arange(height) - center[1])
    turn = rng.choice([-1, 1]) * rng.uniform(0.8, 2.2)
    rows = np.clip(np.rint(center[1] + x * np.sin(turn) + y * np.cos(turn)), 0, height - 1).astype(int)
    columns = np.clip(np.rint(center[0] + x * np.cos(turn) - y * np.sin(turn)), 0, width - 1).astype(int)
    turned: Pixels = image[rows, columns]
    return turned


Outline = Callable[[Point, tuple[int, ...], Generator], Mask]
Change = Callable[[Pixels, Point, Generator], Pixels]
DEFECTS: tuple[tuple[Outline, Change], ...] = (
    (_line, _lighter_or_darker),
    (_blob, _lighter_or_darker),
    (_blob, _stained),
    (_rectangle, _moved),
    (_rectangle, _turned),
)
