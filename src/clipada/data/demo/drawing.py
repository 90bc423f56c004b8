"""Drawing primitives of the products and their defects: noise fields, irregular spots and anti-aliased lines.

Fields have the shape ``(SIDE, SIDE)``; points are ``(x, y)`` in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""One value per pixel, ``(H, W)``, float32."""

Point = tuple[float, float]

Window = tuple[slice, slice]
"""Rows and columns of a part of the picture."""

WHOLE: Window = np.s_[:, :]

SIDE = 256
"""Height and width of every picture, in pixels."""

FINER = 4
"""Lines are drawn this many times larger, then averaged down."""

Y, X = np.mgrid[:SIDE, :SIDE].astype(np.float32)
"""Row and column of every pixel."""


def smooth_noise(rng: Generator, scale: float) -> Field:
    """Draw noise of mean about 0 and deviation about 0.7 whose structures are about ``scale`` pixels wide."""
    cells = max(2, round(SIDE / scale) + 3)
    lattice = PIL.Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    inner = (1, 1, 1 + SIDE / scale, 1 + SIDE / scale)
    noise: Field = np.asarray(lattice.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC, box=inner))
    return noise


def grain(rng: Generator) -> Field:
    """Draw white noise of deviation 1, independent for each pixel."""
    return rng.standard_normal((SIDE, SIDE), dtype=np.float32)


def rough_noise(rng: Generator, scale: float, octaves: int = 3) -> Field:
    """Draw smooth noise with detail: each octave is half as wide and half as strong as the one before."""
    noise: Field = np.sum([smooth_noise(rng, scale / 2**k) / 2**k for k in range(octaves)], axis=0, dtype=np.float32)
    return noise


def ramp(values: Field, start: float, stop: float) -> Field:
    """Compute a smooth step: 0 at ``start``, 1 at ``stop``, ``3 t^2 - 2 t^3`` between; ``start`` may be the greater."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    step: Field = t * t * (3 - 2 * t)
    return step


def turned(center: Point, angle: float, window: Window = WHOLE) -> tuple[Field, Field]:
    """Return each pixel's position along and across the direction ``angle`` (radians) from ``center``, in pixels."""
    x, y = X[window] - center[0], Y[window] - center[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def distance(center: Point) -> Field:
    """Return the distance of each pixel to ``center``, in pixels."""
    away: Field = np.hypot(X - center[0], Y - center[1])
    return away


def spot(rng: Generator, center: Point, radius: float, *, roughness: float = 0.25, stretch: float = 1.0) -> Field:
    """Draw an irregular round spot as signed distance to its outline, in pixels: above 0 inside, below 0 outside.

    Args:
        rng: Source of the outline and direction.
        center: Center of the spot.
        radius: Mean radius in pixels.
        roughness: Deviation of the outline from an ellipse, as a share of the radius.
        stretch: Length over width.
    """
    along, across = turned(center, rng.uniform(0, math.pi))
    along, across = along / math.sqrt(stretch), across * math.sqrt(stretch)
    turn = np.arctan2(across, along)
    outline = np.ones_like(turn)
    for k in range(2, 8):
        outline += roughness / k * rng.normal(0, 1.2) * np.cos(k * turn + rng.uniform(0, 2 * math.pi))
    depth: Field = radius * outline - np.hypot(along, across)
    return depth


def line(points: Sequence[Point], width: float) -> Field:
    """Draw an anti-aliased line as the covered share of each pixel, 0..1; ``width`` in pixels."""
    canvas = PIL.Image.new("L", (SIDE * FINER, SIDE * FINER))
    scaled = [((x + 0.5) * FINER, (y + 0.5) * FINER) for x, y in points]
    PIL.ImageDraw.Draw(canvas).line(scaled, fill=255, width=max(1, round(width * FINER)), joint="curve")
    return np.asarray(canvas.reduce(FINER), dtype=np.float32) / 255


def curve(rng: Generator, start: Point, angle: float, length: float, bend: float) -> list[Point]:
    """Draw a random curve as points about two pixels apart.

    Args:
        rng: Source of the bends.
        start: Middle of the curve.
        angle: Mean direction, in radians.
        length: Length in pixels.
        bend: Deviation of the direction between both ends, in radians.
    """
    count = max(3, int(length / 2))
    turns = np.cumsum(rng.normal(0, 1, count)) / np.sqrt(count)
    turns = np.convolve(np.pad(turns, 4, mode="edge"), np.ones(9) / 9, mode="valid")
    headings = angle + bend * (turns - turns.mean())
    xs, ys = (np.cumsum(step(headings)) * length / count for step in (np.cos, np.sin))
    xs, ys = xs - xs[count // 2] + start[0], ys - ys[count // 2] + start[1]
    return list(zip(xs.tolist(), ys.tolist(), strict=True))
