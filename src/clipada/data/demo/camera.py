"""Simulated camera that photographs a surface: light, shadow, lens and sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.random import Generator
from numpy.typing import NDArray

from clipada.data.demo.drawing import SIDE, Field, distance, smooth_noise
from clipada.types import Image

Color = NDArray[np.floating[Any]]
"""Three values per pixel, ``(H, W, 3)``, linear red, green and blue, 0..1, float32."""

REACH = 6
"""Longest shadow, in pixels."""


@dataclass(frozen=True)
class Surface:
    """Surface in front of the camera.

    Attributes:
        color: Share of light that is reflected.
        height: Height in pixels, toward the camera; slopes are shaded and high parts cast shadows.
    """

    color: Color = field(repr=False)
    height: Field = field(repr=False)


@dataclass(frozen=True)
class Camera:
    """Light, lens and sensor of one photograph. The same surface and camera always give the same picture.

    Attributes:
        direction: Direction of the light source in the picture, in radians; 0 is right, pi / 2 is below.
        exposure: ``(H, W, 3)``: light on each pixel, including vignette and tint.
        noise: ``(H, W, 3)``: sensor noise, deviation 1.
    """

    direction: float
    exposure: Color = field(repr=False)
    noise: Color = field(repr=False)

    @classmethod
    def draw(cls, rng: Generator) -> Camera:
        """Draw a camera on a stand: light from the upper left, slightly different each time."""
        middle = (SIDE / 2 + rng.uniform(-25, 25), SIDE / 2 + rng.uniform(-25, 25))
        vignette = 1 - 0.16 * (distance(middle) / (SIDE / 2)) ** 2
        light = vignette * (1 + 0.02 * smooth_noise(rng, 90)) * rng.uniform(0.9, 1.08)
        tint = (1 + rng.normal(0, 0.012, 3)).astype(np.float32)
        noise = rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32)
        direction = math.radians(rng.uniform(-147, -123))
        return cls(direction, light[..., None] * tint, noise)

    def photograph(self, surface: Surface) -> Image:
        """Photograph a surface: ``(H, W, 3)`` uint8, sRGB."""
        light = self._shading(surface.height) * self._sunlit(surface.height)
        linear = surface.color * self.exposure * light[..., None]
        seen = scipy.ndimage.gaussian_filter(linear, (0.55, 0.55, 0), truncate=3)
        encoded = 255 * np.sqrt(np.clip(seen, 0, 1)) + 1.3 * self.noise  # a gamma of 2 approximates sRGB
        picture: Image = np.clip(np.rint(encoded), 0, 255).astype(np.uint8)
        return picture

    def _shading(self, height: Field) -> Field:
        """Compute the brightness of slopes: those that face the light are brighter than 1."""
        down, across = np.gradient(height)
        facing = -(across * math.cos(self.direction) + down * math.sin(self.direction))
        shade: Field = 1 + 0.75 * facing / np.sqrt(1 + across**2 + down**2)
        return np.clip(shade, 0.25, 1.75)

    def _sunlit(self, height: Field) -> Field:
        """Compute shadows: 1 in the light, less where something higher is in between."""
        hidden = np.zeros_like(height)
        for step in range(1, REACH + 1, 2):
            shift = (round(-step * math.sin(self.direction)), round(-step * math.cos(self.direction)))
            hidden = np.maximum(hidden, _shifted(height, shift) - height - 0.8 * step)
        shadow = scipy.ndimage.uniform_filter(np.clip(hidden, 0, 1), 3)
        return 1 - 0.55 * shadow


def _shifted(height: Field, shift: tuple[int, int]) -> Field:
    """Shift a field by whole pixels; its border is repeated."""
    padded = np.pad(height, REACH, mode="edge")
    top, left = REACH - shift[0], REACH - shift[1]
    return padded[top : top + SIDE, left : left + SIDE]


def mixed(color: Color, other: Color | tuple[float, float, float], share: Field) -> Color:
    """Blend ``color`` with ``share`` (0..1) of ``other``."""
    weight = np.clip(share, 0, 1)[..., None]
    return color + (np.asarray(other, dtype=np.float32) - color) * weight
