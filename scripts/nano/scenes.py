"""Scenes: a surface with or without objects, lit, sometimes with defects, and their ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, per_image, uniform
from nano.defects import spoil
from nano.draws import Size, pixels
from nano.shapes import distances, shaded, shadow
from nano.surfaces import surfaces
from nano.words import (
    ARRANGEMENTS,
    COLORS,
    COMMON_COLORS,
    DEFECTS,
    EXPOSURES,
    HELD_OUT_DEFECTS,
    HELD_OUT_MATERIALS,
    LIGHTS,
    MATERIALS,
    PRINTS,
    SHAPES,
    held_out_pair,
)

SMALLEST_DEFECT = 10
"""Number of visible pixels below which a defect is removed again."""


@dataclass(frozen=True)
class Palette:
    """Allowed content of scenes.

    Attributes:
        surfaces: ``(k, 2)`` allowed pairs of indices into ``MATERIALS`` and ``COLORS``.
        defects: ``(d,)`` allowed indices into ``DEFECTS``.
    """

    surfaces: Tensor
    defects: Tensor

    @classmethod
    def training(cls) -> Self:
        """Return everything that is not held out."""
        return cls._where(materials_out=False, pairs_out=False, defects_out=False)

    @classmethod
    def new_pairs(cls) -> Self:
        """Return known words in pairs of material and color that are not in the training."""
        return cls._where(materials_out=False, pairs_out=True, defects_out=False)

    @classmethod
    def new_concepts(cls) -> Self:
        """Return materials and defects that are not in the training."""
        return cls._where(materials_out=True, pairs_out=None, defects_out=True)

    @classmethod
    def _where(cls, *, materials_out: bool, pairs_out: bool | None, defects_out: bool) -> Self:
        pairs = [
            (m, c)
            for m, material in enumerate(MATERIALS)
            for c, color in enumerate(COLORS)
            if (material in HELD_OUT_MATERIALS) == materials_out
            and (pairs_out is None or held_out_pair(c, m) == pairs_out)
            for _ in range(2 if color in COMMON_COLORS else 1)
        ]
        defects = [d for d, name in enumerate(DEFECTS) if (name in HELD_OUT_DEFECTS) == defects_out]
        return cls(torch.tensor(pairs), torch.tensor(defects))


@dataclass(frozen=True)
class Scenes:
    """Batch of scenes. Layer 0 is the background, layer 1 the objects; without objects their words are -1.

    Attributes:
        images: ``(n, 3, H, W)`` of range 0..1.
        clean: The same without defects and noise.
        objects: ``(n, H, W)``, share of each pixel that is object, 0..1.
        defects: ``(n, H, W)`` int64: index into ``DEFECTS``, -1 where there is none.
        materials, colors, prints: ``(n, 2)`` indices, one for each layer.
        shapes, arrangements, lights, exposures: ``(n,)`` indices.
    """

    images: Tensor
    clean: Tensor
    objects: Tensor
    defects: Tensor
    materials: Tensor
    colors: Tensor
    prints: Tensor
    shapes: Tensor
    arrangements: Tensor
    lights: Tensor
    exposures: Tensor

    def __len__(self) -> int:
        return len(self.images)


def draw_scenes(count: int, size: Size, palette: Palette, generator: Generator, defective: float = 0.7) -> Scenes:
    """Draw scenes from a generator; the same generator state gives the same scenes.

    Args:
        count: Number of scenes.
        size: Height and width in pixels. A larger image shows a larger area at the same scale.
        palette: Allowed content.
        generator: Source of all randomness.
        defective: Probability that a scene has a defect; a second one follows with a third of it.
    """
    layers = palette.surfaces[integers(0, len(palette.surfaces) - 1, (count, 2), generator)]
    materials, colors = layers.unbind(2)
    prints = torch.where(chance(0.35, (count, 2), generator), integers(1, len(PRINTS) - 1, (count, 2), generator), 0)
    shapes = torch.where(chance(0.6, (count,), generator), integers(0, len(SHAPES) - 1, (count,), generator), -1)
    arrangements = integers(0, len(ARRANGEMENTS) - 1, (count,), generator)
    behind = surfaces(materials[:, 0], colors[:, 0], prints[:, 0], size, generator)
    scene, objects = behind.clone(), torch.zeros(count, *size)
    chosen = (shapes >= 0).nonzero().flatten()
    if len(chosen):
        front = surfaces(materials[chosen, 1], colors[chosen, 1], prints[chosen, 1], size, generator)
        distance = distances(shapes[chosen], arrangements[chosen], size, generator)
        cover = (0.5 - distance).clamp(0, 1)
        under = behind[chosen] * shadow(distance, generator)[:, None]
        objects[chosen] = cover
        scene[chosen] = under + cover[:, None] * (shaded(front, distance, generator) - under)
    absent = shapes < 0
    flat = uniform(0, 1, (count, 3, 1, 1), generator).expand_as(behind)
    behind = torch.where(absent[:, None, None, None], flat, behind)
    where = torch.where(per_image(absent), 1.0, objects * (objects > 0.5) + 0.15)
    spoiled, defects = scene, torch.full((count, *size), -1)
    for probability in (defective, defective / 3):
        kinds = _draw_kinds(count, palette.defects, probability, generator)
        after, mask = spoil(spoiled, behind, kinds, where, generator)
        enough = mask.sum((1, 2)) >= SMALLEST_DEFECT
        mask = mask & per_image(enough)
        spoiled = torch.where(enough[:, None, None, None], after, spoiled)
        defects = torch.where(mask, per_image(kinds), defects)
    lights = integers(0, len(LIGHTS) - 1, (count,), generator)
    exposures = integers(0, len(EXPOSURES) - 1, (count,), generator)
    light = lighting(lights, exposures, size, generator)
    return Scenes(
        images=camera(spoiled * light, generator),
        clean=(scene * light).clamp(0, 1),
        objects=objects,
        defects=defects,
        materials=torch.stack((materials[:, 0], torch.where(absent, -1, materials[:, 1])), 1),
        colors=torch.stack((colors[:, 0], torch.where(absent, -1, colors[:, 1])), 1),
        prints=torch.stack((prints[:, 0], torch.where(absent, -1, prints[:, 1])), 1),
        shapes=shapes,
        arrangements=torch.where(absent, -1, arrangements),
        lights=lights,
        exposures=exposures,
    )


def _draw_kinds(count: int, allowed: Tensor, probability: float, generator: Generator) -> Tensor:
    """Draw a defect index of ``allowed`` for each image, or -1."""
    kinds = allowed[integers(0, len(allowed) - 1, (count,), generator)]
    return torch.where(chance(probability, (count,), generator), kinds, -1)


def lighting(lights: Tensor, exposures: Tensor, size: Size, generator: Generator) -> Tensor:
    """Draw a light factor ``(n, 1, H, W)`` per pixel, equal for the scene with and without defects."""
    count = len(lights)
    y, x = ((axis / (length - 1)) for axis, length in zip(pixels(size), size, strict=True))
    fall = per_image(uniform(0.25, 0.6, (count,), generator))
    spot_y, spot_x = (per_image(uniform(0.2, 0.8, (count,), generator)) for _ in range(2))
    spot = ((y - spot_y) ** 2 + (x - spot_x) ** 2) * 2.5
    flat = torch.zeros(count, *size)
    ways = torch.stack((flat, flat + x, flat + 1 - x, flat + y, flat + 1 - y, spot.clamp(max=1)))
    chosen = ways[lights, torch.arange(count)]
    level = torch.tensor([0.55, 0.9, 1.2])[exposures] * uniform(0.9, 1.1, (count,), generator)
    return (per_image(level) * (1 - fall * chosen))[:, None]


def camera(images: Tensor, generator: Generator, noise: float = 0.03) -> Tensor:
    """Blur some images slightly, then add sensor noise of a deviation of up to ``noise``."""
    count = len(images)
    soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    share = (uniform(0, 0.8, (count,), generator) * chance(0.4, (count,), generator))[:, None, None, None]
    grain = torch.randn(images.shape, generator=generator)
    sigma = (uniform(0, noise, (count,), generator) * chance(0.7, (count,), generator))[:, None, None, None]
    return (images + share * (soft - images) + sigma * grain).clamp(0, 1)
