"""Synthetic anomalies of the structure: parts that are misplaced, foreign, missing, bent.

Every function takes a good image ``(3, H, W)`` of range 0..1, another good image of the same shape, and the source of
all randomness. It returns a changed image of range 0..1, except for rounding and noise, and the mask ``(H, W)`` of the
visible change. `kinds.draw_anomaly` clips the image and draws again if the mask is too small.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, map_coordinates

from clipada.synthesis.affine import warp
from clipada.synthesis.blending import Drawn, Pixels, mix, softened, visible_part
from clipada.synthesis.patches import motions
from clipada.synthesis.shapes import draw_length, offsets, perlin_area, place, region
from clipada.types import Mask

PASTE_LIMIT = 0.04
"""Change that pasted parts exceed where they are visible, of a range of 1."""

SHAPE_LIMIT = 0.03
"""The same for missing and bent parts."""

RING = 4
"""Width in pixels of the surroundings from which a missing part takes its color."""


def paste_same(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Paste a part of the image into a wrong place, turned and zoomed: CutPaste (Li et al., CVPR 2021)."""
    area = region(image, rng)
    changed = _moved(image, rng)
    area = visible_part(image, changed, area, PASTE_LIMIT)
    return mix(image, changed, softened(area, 0.7)), area


def paste_other(image: Pixels, other: Pixels, rng: Generator) -> Drawn:
    """Blend a part of another image in: NSA (Schlueter et al., ECCV 2022), without its Poisson blending."""
    area = perlin_area((image.shape[1], image.shape[2]), rng) if rng.random() < 0.5 else region(image, rng)
    moved = _moved(other, rng)
    drawn = mix(image, moved, area * rng.uniform(0.5, 1))
    area = visible_part(image, drawn, area, PASTE_LIMIT)
    return mix(image, drawn, area), area


def erase(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Remove a part: fill a region with a color around it, or with its blurred surroundings."""
    area = region(image, rng)
    ring = binary_dilation(area, iterations=RING) & ~area
    if not ring.any():
        return image, np.zeros_like(area)
    changed = _surroundings(image, area, ring, rng) + 0.01 * rng.standard_normal(image.shape)
    area = visible_part(image, changed, area, SHAPE_LIMIT)
    return mix(image, changed, softened(area, 0.8)), area


def deform(image: Pixels, _: Pixels, rng: Generator) -> Drawn:
    """Bend, squeeze, swell or twist the surroundings of a place, 8 to 45 pixels in radius."""
    center = place(image, rng)
    radius = draw_length(8, 45, rng)
    down, across = offsets(center, (image.shape[1], image.shape[2]))
    squared = (down**2 + across**2) / radius**2
    move_down, move_across = _displacement(down, across, radius, np.exp(-(squared**2)), rng)
    source = (center[0] + down + move_down, center[1] + across + move_across)
    changed = np.stack([map_coordinates(plane, source, order=1, mode="reflect") for plane in image])
    return mix(image, changed, squared < 2.5), visible_part(image, changed, squared < 1.4, SHAPE_LIMIT)


def _displacement(down: Pixels, across: Pixels, radius: float, weight: Pixels, rng: Generator) -> tuple[Pixels, Pixels]:
    """Draw how far each pixel's source is from it.

    Args:
        down: ``(H, W)``: position below the center, in pixels.
        across: ``(H, W)``: position to its right.
        radius: Radius of the bent area, in pixels.
        weight: ``(H, W)``: 1 at the center, 0 far from it.
        rng: Source of all randomness.

    Returns:
        Offsets down and across in pixels, both ``(H, W)``: a shift, a zoom or a twist, faded out by ``weight``.
    """
    direction, reach, choice = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.25, 0.7), rng.random()
    if choice < 0.5:
        return reach * math.sin(direction) * weight, reach * math.cos(direction) * weight
    if choice < 0.75:
        zoom = rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)
        return down * zoom * weight, across * zoom * weight
    angle = rng.uniform(0.4, 1.5) * weight
    sine, cosine = np.sin(angle), np.cos(angle) - 1
    return across * sine + down * cosine, across * cosine - down * sine


def _surroundings(image: Pixels, area: Mask, ring: Mask, rng: Generator) -> Pixels:
    """Draw a fill for ``area``, ``(3, H, W)``: one color of ``ring``, or the colors nearest to the area, blurred."""
    rows, columns = np.nonzero(ring)
    pixel = rng.integers(len(rows))
    takes_pixel, is_flat = rng.random(2) < 0.6
    if is_flat:
        color = image[:, rows[pixel], columns[pixel]] if takes_pixel else np.median(image[:, ring], axis=1)
        return np.broadcast_to(color[:, None, None], image.shape)
    nearest = distance_transform_edt(area, return_distances=False, return_indices=True)
    fill: Pixels = gaussian_filter(image[:, nearest[0], nearest[1]], (0, 3, 3))
    return fill


def _moved(image: Pixels, rng: Generator) -> Pixels:
    """Turn, zoom, flip and shift ``image`` ``(3, H, W)`` at random; continue it by reflection beyond its borders."""
    angle, zoom, flip = rng.uniform(-math.pi, math.pi), draw_length(0.8, 1.25, rng), float(rng.choice([-1, 1]))
    shift = torch.from_numpy(rng.uniform(0.15, 0.7, 2) * rng.choice([-1, 1], 2))
    motion = torch.tensor([angle, zoom, flip], dtype=torch.float64)[:, None]
    theta = motions(motion[0], motion[1], motion[2], shift[None], aspect=image.shape[1] / image.shape[2])
    moved: Pixels = warp(torch.from_numpy(image)[None].float(), theta, "reflection")[0].numpy()
    return moved
