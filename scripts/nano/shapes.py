"""Objects on a background as signed distances of shapes: one, several, or rows of them."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, log_uniform, per_image, uniform
from nano.draws import Size, hashed, pixels
from nano.words import ARRANGEMENTS

ONE, SEVERAL, ROWS = range(len(ARRANGEMENTS))
SIDES = {2: 4, 3: 3, 4: 6}
"""Number of corners of the regular polygons among the shapes, by index in ``SHAPES``."""


def distances(shapes: Tensor, arrangements: Tensor, size: Size, generator: Generator) -> Tensor:
    """Return the signed distance to the nearest object's outline in pixels, negative inside: ``(n, H, W)``.

    Args:
        shapes: ``(n,)`` indices into ``SHAPES``.
        arrangements: ``(n,)`` indices into ``ARRANGEMENTS``.
        size: Height and width in pixels.
        generator: Source of all randomness.
    """
    count, side = len(shapes), min(size)
    single, several = per_image(arrangements == ONE), per_image(arrangements == SEVERAL)
    pitch = torch.where(single, 4.0 * side, per_image(log_uniform(22, 64, (count,), generator)))
    share = per_image(uniform(0.28, 0.46, (count,), generator))
    radius = torch.where(single, per_image(uniform(0.2, 0.5, (count,), generator)) * side, share * pitch)
    y, x = pixels(size)
    y = y - side / 2 + per_image(uniform(-0.15, 0.15, (count,), generator)) * torch.where(single, side, pitch * 3)
    x = x - side / 2 + per_image(uniform(-0.15, 0.15, (count,), generator)) * torch.where(single, side, pitch * 3)
    tilt = per_image(uniform(-0.3, 0.3, (count,), generator) * chance(0.5, (count,), generator))
    y, x = y * tilt.cos() + x * tilt.sin(), x * tilt.cos() - y * tilt.sin()
    row, column = (y / pitch).round(), (x / pitch).round()
    seed = per_image(uniform(1, 2, (count,), generator))
    stray = torch.where(several, 0.5 * (pitch - 2 * radius).clamp(min=0), 0.0)
    y = y - row * pitch + stray * (2 * hashed(row, column, seed) - 1)
    x = x - column * pitch + stray * (2 * hashed(row, column, seed + 1) - 1)
    angle = per_image(uniform(0, 2 * math.pi, (count,), generator))
    angle = angle + torch.where(several, 2 * math.pi * hashed(row, column, seed + 2), 0.0)
    radius = radius * (1 - torch.where(several, 0.3, 0.0) * hashed(row, column, seed + 3))
    edge = outline((y * angle.cos() + x * angle.sin()) / radius, (x * angle.cos() - y * angle.sin()) / radius, shapes)
    absent = several & (hashed(row, column, seed + 4) < 0.4)
    return torch.where(absent, 0.5 * pitch, edge * radius)


def outline(y: Tensor, x: Tensor, shapes: Tensor) -> Tensor:
    """Return the signed distance of each shape at radius 1 (approximate for star and gear)."""
    away, turn = (y**2 + x**2).sqrt(), torch.atan2(y, x)
    result = away - 1
    result = torch.where(per_image(shapes == 1), (away - 0.72).abs() - 0.26, result)
    for shape, sides in SIDES.items():
        sector = 2 * math.pi / sides
        polygon = away * (turn % sector - sector / 2).cos() - math.cos(sector / 2)
        result = torch.where(per_image(shapes == shape), polygon, result)
    capsule = ((x.abs() - 0.55).clamp(min=0) ** 2 + y**2).sqrt() - 0.45
    result = torch.where(per_image(shapes == 5), capsule, result)
    result = torch.where(per_image(shapes == 6), 0.8 * (away - 0.72 - 0.28 * (5 * turn).cos()), result)
    gear = away - 0.88 - 0.12 * (4 * (12 * turn).cos()).clamp(-1, 1)
    return torch.where(per_image(shapes == 7), gear, result)


def shaded(surface: Tensor, distance: Tensor, generator: Generator) -> Tensor:
    """Give objects ``(n, 3, H, W)`` a lit, beveled edge and sometimes a slot or a bore."""
    count = len(surface)
    bevel = per_image(log_uniform(1.5, 10, (count,), generator))
    height = (-distance / bevel).clamp(0, 1)
    slope_y = torch.zeros_like(height)
    slope_x = torch.zeros_like(height)
    slope_y[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * bevel / 2
    slope_x[:, :, 1:-1] = (height[:, :, 2:] - height[:, :, :-2]) * bevel / 2
    angle = per_image(uniform(0, 2 * math.pi, (count,), generator))
    light = (slope_y * angle.sin() + slope_x * angle.cos()) * per_image(uniform(0.1, 0.5, (count,), generator))
    depth = per_image(uniform(6, 16, (count,), generator))
    bored = per_image(integers(0, 3, (count,), generator) == 0)
    bore = torch.where(bored, ((-distance - depth).clamp(0, 1)) * 0.6, 0.0)
    return (surface * (1 - bore[:, None]) + light[:, None]).clamp(0, 1)


def shadow(distance: Tensor, generator: Generator) -> Tensor:
    """Return a factor ``(n, H, W)`` that darkens the background along one side of the objects."""
    count = len(distance)
    down, across = (int(integers(-4, 4, (), generator)) for _ in range(2))
    cast = distance.roll((down, across), (1, 2))
    return 1 - (0.5 - cast / 4).clamp(0, 1) * per_image(uniform(0, 0.5, (count,), generator))
