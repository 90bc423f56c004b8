"""Parts as in inspection: a single part, an array of parts, or a close-up.

They have holes, rims, grooves and prints, which belong to the part and are not defects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, log_uniform, per_image, uniform
from nano.draws import Size, hashed, pixels
from nano.lettering import barcode, lettering
from nano.shapes import outline

FRAME = 256
"""Side of the whole picture, in pixels; a smaller picture is a window of it."""

SINGLE, ARRAY, CLOSE = range(3)
"""Single part, equal parts in rows, face that fills the picture."""


@dataclass(frozen=True)
class Layout:
    """Layout of the parts of ``n`` images; fields are ``(n, H, W)``, in pixels.

    Attributes:
        kinds: ``(n,)``: ``SINGLE``, ``ARRAY`` or ``CLOSE``.
        shapes: ``(n,)`` indices into ``SHAPES``; -1 for close faces.
        y, x: From the center of the nearest part, along its own axes.
        depth: Signed distance to the outline, positive inside.
        radius: ``(n, 1, 1)``: approximate size of a part.
    """

    kinds: Tensor
    shapes: Tensor
    y: Tensor
    x: Tensor
    depth: Tensor
    radius: Tensor

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def away(self) -> Tensor:
        """Return the distance to the center."""
        return (self.y**2 + self.x**2).sqrt()

    @property
    def turn(self) -> Tensor:
        """Return the angle around the center, in radians."""
        return torch.atan2(self.y, self.x)


def lay_out(count: int, size: Size, corner: tuple[int, int], generator: Generator) -> Layout:
    """Place parts in the picture of which the window of ``size`` at ``corner``, in pixels, is visible."""

    def drawn(low: float, high: float) -> Tensor:
        return per_image(uniform(low, high, (count,), generator))

    kinds = torch.tensor((SINGLE, SINGLE, SINGLE, ARRAY, CLOSE))[integers(0, 4, (count,), generator)]
    shapes = torch.tensor((0, 0, 0, 1, 2, 2, 4, 5, 6, 7, 3))[integers(0, 10, (count,), generator)]
    array, close = per_image(kinds == ARRAY), per_image(kinds == CLOSE)
    pitch = torch.where(array, drawn(48, 110), 4.0 * FRAME)
    radius = torch.where(array, drawn(0.28, 0.45) * pitch, per_image(log_uniform(50, 150, (count,), generator)))
    y, x = pixels(size)
    y, x = (way + first - FRAME / 2 - drawn(-20, 20) for way, first in zip((y, x), corner, strict=True))
    tilt = drawn(-0.25, 0.25)
    y, x = y * tilt.cos() + x * tilt.sin(), x * tilt.cos() - y * tilt.sin()
    row, column = (y / pitch).round(), (x / pitch).round()
    own = drawn(0, 2 * math.pi) * per_image(chance(0.4, (count,), generator))
    own = own + 2 * math.pi * hashed(row, column, drawn(1, 2)) * (array & per_image(chance(0.4, (count,), generator)))
    y, x = y - row * pitch, x - column * pitch
    y, x = y * own.cos() + x * own.sin(), x * own.cos() - y * own.sin()
    stretch = torch.where(per_image(chance(0.3, (count,), generator)), drawn(0.65, 1), 1.0)
    edge = outline(y / (radius * stretch), x / radius, shapes) * radius * stretch
    depth = torch.where(close, 2.0 * FRAME, -edge)
    return Layout(kinds, torch.where(kinds == CLOSE, -1, shapes), y, x, depth, radius)


def holes(layout: Layout, generator: Generator) -> Tensor:
    """Return the distance to the nearest of bore, bolt holes and a grid of holes; negative inside: ``(n, H, W)``."""
    count, away, radius = len(layout), layout.away, layout.radius

    def drawn(low: float, high: float) -> Tensor:
        return per_image(uniform(low, high, (count,), generator))

    def unless(probability: float, distance: Tensor) -> Tensor:
        return torch.where(per_image(chance(probability, (count,), generator)), distance, torch.inf)

    bore = unless(0.45, away - radius * drawn(0.1, 0.4))
    sector = 2 * math.pi / per_image(integers(2, 9, (count,), generator))
    phase = drawn(0, 2 * math.pi)
    index = ((layout.turn - phase) / sector).round()
    at, size = radius * drawn(0.5, 0.8), (radius * drawn(0.04, 0.13)).clamp(min=2)
    beside = layout.turn - phase - index * sector
    bolts = (away**2 + at**2 - 2 * away * at * beside.cos()).clamp(min=0).sqrt() - size
    kept = hashed(index, torch.zeros_like(index), drawn(1, 2)) < drawn(0.4, 1.3)
    bolts = unless(0.5, torch.where(kept, bolts, torch.inf))
    pitch = drawn(24, 90)
    off_y, off_x = (way - (way / pitch).round() * pitch for way in (layout.y, layout.x))
    slot = (off_x.abs() - drawn(0, 10)).clamp(min=0)
    there = per_image(layout.kinds != ARRAY) & (
        hashed((layout.y / pitch).round(), (layout.x / pitch).round(), phase) < 0.7
    )
    grid = unless(0.2, torch.where(there, (off_y**2 + slot**2).sqrt() - drawn(2.5, 9), torch.inf))
    return torch.minimum(torch.minimum(bore, bolts), grid)


def marks(layout: Layout, generator: Generator) -> Tensor:
    """Draw coverage with print, ``(n, H, W)``: up to two of lettering, bars and signs, straight or bent."""
    covered = torch.zeros_like(layout.depth)
    for probability in (0.75, 0.4):
        covered = torch.maximum(
            covered, _mark(layout, generator) * per_image(chance(probability, (len(layout),), generator))
        )
    return covered * (layout.depth > 1)


def _mark(layout: Layout, generator: Generator) -> Tensor:
    count, array = len(layout), per_image(layout.kinds == ARRAY)

    def drawn(low: float, high: float) -> Tensor:
        return per_image(uniform(low, high, (count,), generator))

    height = torch.where(array, layout.radius * drawn(0.2, 0.5), per_image(log_uniform(7, 28, (count,), generator)))
    reach = torch.where(array, 0.3, 1.0) * layout.radius
    ring = layout.radius * drawn(0.4, 0.8)
    turned = per_image(chance(0.3, (count,), generator)) & ~array
    phase = drawn(0, 2 * math.pi)
    angle = torch.remainder(layout.turn - phase, 2 * math.pi) - math.pi
    down = torch.where(turned, ring - layout.away, layout.y - drawn(-0.6, 0.6) * reach)
    across = torch.where(turned, angle * ring, layout.x - drawn(-0.4, 0.4) * reach)
    kinds = per_image(integers(0, 9, (count,), generator))
    sign = (-outline(down / height, across / height, integers(0, 7, (count,), generator)) * height + 0.5).clamp(0, 1)
    drawings = lettering(down, across, height, generator), barcode(down, across, height, generator)
    return torch.where(kinds == 0, sign, torch.where(kinds == 1, drawings[1], drawings[0]))


def finish(surface: Tensor, layout: Layout, inside: Tensor, generator: Generator) -> Tensor:
    """Add turned rings with a highlight, steps and grooves along the outline, and lit edges to ``(n, 3, H, W)``.

    Args:
        surface: Bare material.
        layout: Layout of the parts.
        inside: Depth inside the material, holes excluded: ``(n, H, W)``.
        generator: Source of all randomness.
    """
    count = len(layout)

    def drawn(low: float, high: float) -> Tensor:
        return per_image(uniform(low, high, (count,), generator))

    def now_and_then(probability: float) -> Tensor:
        return per_image(chance(probability, (count,), generator))

    rings = torch.randn(count, 1024, generator=generator)
    rings = (rings + rings.roll(1, 1)) / 2
    place = (layout.away * drawn(1, 4)).clamp(max=1022)
    lower = place.long().flatten(1)
    step = (place % 1).flatten(1)
    groove = (rings.gather(1, lower) * (1 - step) + rings.gather(1, lower + 1) * step).view_as(place)
    light = drawn(0, math.pi)
    glare = (layout.turn - light).cos().abs() ** drawn(2, 16) + drawn(0, 0.6) * (
        (layout.turn - light - drawn(0.6, 1.4)).cos().abs() ** drawn(4, 20)
    )
    reflection = (1 + drawn(0.02, 0.2) * groove) * (drawn(0.6, 1) + drawn(0, 0.6) * glare)
    tone = torch.where(now_and_then(0.4), reflection, 1.0)
    for _ in range(2):
        at, width = layout.radius * drawn(0.05, 0.6), drawn(0.6, 2.5)
        lined = (width - (layout.depth - at).abs() + 0.5).clamp(0, 1) * drawn(-0.5, 0.4)
        stepped = ((layout.depth - at) / 2).clamp(0, 1) * drawn(-0.3, 0.3)
        tone = tone * (1 + torch.where(now_and_then(0.5), lined, stepped) * now_and_then(0.4))
    bevel = per_image(log_uniform(1.5, 9, (count,), generator))
    return (surface * tone[:, None] + lit((inside / bevel).clamp(0, 1) * bevel, generator)[:, None]).clamp(0, 1)


def lit(height: Tensor, generator: Generator) -> Tensor:
    """Return the brightness that light from one side adds to slopes of ``height``, ``(n, H, W)``, in pixels."""
    count = len(height)
    down, across = torch.gradient(height, dim=(1, 2))
    way = per_image(uniform(0, 2 * math.pi, (count,), generator))
    return (down * way.sin() + across * way.cos()) * per_image(uniform(0.08, 0.4, (count,), generator))
