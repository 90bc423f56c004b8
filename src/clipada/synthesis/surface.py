"""Synthetic anomalies of the surface: texture, spots, scratches, cracks, light, sharpness.

Every function takes a good image ``(3, H, W)`` of range 0..1, another good image, which these kinds ignore, and the
source of all randomness. It returns a changed image of range 0..1, except for rounding and noise, and the mask
``(H, W)`` of the visible change. `kinds.draw_anomaly` clips the image and draws again if the mask is too small.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from clipada.synthesis.blending import THIN_WINDOW, Drawn, Pixels, mix, softened, visible_part
from clipada.synthesis.shapes import (
    Size,
    blob,
    draw_length,
    line,
    perlin_area,
    place,
    region,
    smooth_noise,
    torch_generator,
)
from clipada.synthesis.textures import ProceduralTextures
from clipada.types import Mask

MARK_LIMIT = 0.04
"""Change that textures, spots, scratches and cracks exceed where they are visible, of a range of 1."""

LIGHT_LIMIT = 0.03
"""The same for light and contrast."""

BLUR_LIMIT = 0.025
"""The same for blur and noise, which change the texture more than the mean."""

COVERED = 0.3
"""Share of a pixel that a line covers where the pixel belongs to the mask."""


def perlin_texture(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Blend a procedural texture into an area of Perlin noise: DRAEM (Zavrtanik et al., ICCV 2021, section 3.3)."""
    size = _size(image)
    area = perlin_area(size, rng)
    texture = ProceduralTextures().draw(1, size, torch_generator(rng))[0].numpy()
    drawn = mix(image, texture, area * rng.uniform(0.2, 1))
    return drawn, visible_part(image, drawn, area, MARK_LIMIT)


def spots(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Draw 1 to 3 spots of dirt or color, 2 to 14 pixels in radius."""
    drawn, area = image, np.zeros(_size(image), dtype=bool)
    for _count in range(int(rng.integers(1, 4))):
        center = place(image, rng)
        spot = blob(center, draw_length(2, 14, rng), area.shape, rng)
        share = softened(spot, rng.uniform(0.4, 1.5))
        color = _draw_color(image, spot, rng)
        grain = 0.05 * rng.uniform() * rng.standard_normal(area.shape)
        drawn = mix(drawn, color + grain, share * rng.uniform(0.4, 1))
        area |= spot
    return drawn, visible_part(image, drawn, area, MARK_LIMIT, THIN_WINDOW)


def scratches(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Draw 1 to 3 scratches, 8 to 120 pixels long and 1 to 4 wide: scars of CutPaste (Li et al., CVPR 2021)."""
    drawn, area = image, np.zeros(_size(image), dtype=bool)
    for _count in range(int(rng.integers(1, 4))):
        center = place(image, rng)
        scratch = line(center, draw_length(8, 120, rng), draw_length(1, 4, rng), area.shape, rng)
        covered = scratch > COVERED
        drawn = mix(drawn, _draw_color(image, covered, rng), scratch * rng.uniform(0.35, 1))
        area |= covered
    return drawn, visible_part(image, drawn, area, MARK_LIMIT, THIN_WINDOW)


def crack(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Draw a branching dark or bright crack of uneven depth, with a rim lit from one side."""
    depth = _branches(image, rng) * np.clip(0.8 + 0.4 * smooth_noise(_size(image), 3, rng), 0, 1)
    is_dark = rng.random() < 0.7
    inside = image * rng.uniform(0.1, 0.5) if is_dark else image + (1 - image) * rng.uniform(0.4, 0.9)
    rim = np.clip(shift(depth, (1.5, 1.5), order=1) - depth, 0, 1)
    drawn = mix(image, inside, depth) + (0.25 if is_dark else -0.25) * rng.random() * rim
    return drawn, visible_part(image, np.clip(drawn, 0, 1), depth > COVERED, MARK_LIMIT, THIN_WINDOW)


def light(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Darken, brighten or tint a region, or change its contrast."""
    area = region(image, rng)
    share = softened(area, rng.uniform(0.6, 3))
    changes_gain = rng.random() < 0.6
    tint = 0.5 + rng.random(3) if rng.random() < 0.3 else np.ones(3)
    gain = rng.choice([rng.uniform(0.3, 0.75), rng.uniform(1.35, 2.2)])
    if changes_gain:
        changed = image * _as_color(gain * tint)
    else:
        mean = _mean_color(image, area)
        changed = mean + (image - mean) * rng.choice([0.3, 2.5])
    changed = np.clip(changed, 0, 1)
    return mix(image, changed, share), visible_part(image, changed, area, LIGHT_LIMIT)


def blur(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Smooth a region, as by wear or a smear, or roughen it with noise."""
    area = region(image, rng)
    sigma = rng.uniform(2, 5)
    if rng.random() < 0.6:
        changed = gaussian_filter(image, (0, sigma, sigma))
    else:
        amplitude, noise = rng.uniform(0.06, 0.25), rng.standard_normal(_size(image))
        changed = np.clip(image + amplitude * gaussian_filter(noise, rng.uniform(0, 1)), 0, 1)
    area = visible_part(image, changed, area, BLUR_LIMIT)
    return mix(image, changed, softened(area, 1)), area


def _branches(image: Pixels, rng: Generator) -> Pixels:
    """Draw 1 to 3 lines through about one place; return the share of each pixel they cover, ``(H, W)``."""
    row, column = place(image, rng)
    length, covered = draw_length(15, 90, rng), np.zeros(_size(image))
    for _ in range(int(rng.integers(1, 4))):
        center = (row + rng.uniform(-4, 4), column + rng.uniform(-4, 4))
        branch = line(center, length * rng.uniform(0.4, 1), draw_length(1, 5, rng), _size(image), rng)
        covered = np.maximum(covered, branch)
    return covered


def _draw_color(image: Pixels, area: Mask, rng: Generator) -> Pixels:
    """Draw a color ``(3, 1, 1)``: the area's own, darkened or lightened, or any color, or any gray."""
    base, choice = _mean_color(image, area), rng.random()
    if choice < 0.4:
        return base * rng.uniform(0.1, 0.6)
    if choice < 0.7:
        return base + (1 - base) * rng.uniform(0.3, 0.9)
    color = rng.random(3)
    return _as_color(np.full(3, color[0]) if rng.random() < 0.4 else color)


def _mean_color(image: Pixels, area: Mask) -> Pixels:
    """Return the mean color ``(3, 1, 1)`` of ``area``, or of the whole image if the area is empty."""
    return _as_color(image[:, area].mean(1) if area.any() else image.mean((1, 2)))


def _as_color(channels: NDArray[np.floating]) -> Pixels:
    """Reshape ``(3,)`` to ``(3, 1, 1)``, to broadcast against an image."""
    return channels[:, None, None]


def _size(image: Pixels) -> Size:
    """Return height and width of ``image`` ``(3, H, W)``."""
    return image.shape[1], image.shape[2]
