"""Families of procedural gray patterns ``(n, H, W)`` of range 0..1, each pattern with its own random parameters.

All lengths are relative to the image's shorter side, so that a pattern is the same at any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, log_uniform, per_image, uniform

Size = tuple[int, int]
Family = Callable[[int, Size, Generator], Tensor]


def stripes(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw waves of 2 to 40 periods in any direction, from soft to square, straight or warped, some sawtooth."""
    along, _ = turned_grid(count, size, generator)
    bent = uniform(0, 0.15, (count,), generator) * chance(0.6, (count,), generator)
    along = along + per_image(bent) * gaussian_noise(uniform(2, 3, (count,), generator), size, generator)
    phase = per_image(log_uniform(2, 40, (count,), generator)) * along
    wave = soften(torch.sin(2 * math.pi * phase), generator)
    saw = per_image(chance(0.2, (count,), generator))
    return torch.where(saw, phase % 1, wave)


def gradients(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw slow ramps: straight, radial, or by angle."""
    down, across = turned_grid(count, size, generator)
    down, across = (axis + per_image(uniform(-0.4, 0.4, (count,), generator)) for axis in (down, across))
    round_center = (down**2 + across**2).sqrt()
    round_angle = torch.atan2(down, across).abs() / math.pi
    kind = per_image(integers(0, 2, (count,), generator))
    ramp = torch.where(kind == 0, down + 0.5, torch.where(kind == 1, round_center, round_angle))
    return ramp.clamp(0, 1)


def noise(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw noise of spectrum ``1 / f^a``: from white (a = 0) over pink to clouds (a = 2.5)."""
    return flattened(gaussian_noise(uniform(0, 2.5, (count,), generator), size, generator))


def fibers(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw noise stretched 4 to 40 times in one direction: wood, cloth, brushed metal, scratches."""
    slopes = uniform(0.8, 2.2, (count,), generator)
    stretch = log_uniform(4, 40, (count,), generator)
    drawn_out = gaussian_noise(slopes, size, generator, stretch=stretch)
    sharp = per_image(chance(0.3, (count,), generator))
    return torch.where(sharp, soften(drawn_out, generator), flattened(drawn_out))


def blobs(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw smooth noise of one scale, cut at a level: stains, spots, camouflage, labyrinths."""
    return soften(gaussian_noise(uniform(2.5, 4, (count,), generator), size, generator, band=True), generator)


def cells(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw Voronoi cells of points on a jittered grid: flat cells, their borders, pits, or dots of several sizes."""
    nearest, second, value = voronoi(count, size, generator)
    border = ((second - nearest) * per_image(uniform(1, 12, (count,), generator))).clamp(0, 1)
    radius = 0.15 + 0.35 * value
    dots = ((radius - nearest) * per_image(log_uniform(2, 30, (count,), generator)) + 0.5).clamp(0, 1)
    kind = per_image(integers(0, 3, (count,), generator))
    plain = torch.where(kind == 0, value, nearest.clamp(0, 1))
    return torch.where(kind == 2, border, torch.where(kind == 3, dots, plain))


def tiles(count: int, size: Size, generator: Generator) -> Tensor:
    """Draw checks, grids of lines, bricks of many shades, and weaves, in any direction."""
    repeats = log_uniform(3, 32, (count,), generator)
    ratio = log_uniform(0.5, 2, (count,), generator)
    down, across = turned_grid(count, size, generator)
    down = down * per_image(repeats)
    row = down.floor()
    across = across * per_image(repeats * ratio) + row * per_image(0.5 * chance(0.5, (count,), generator))
    column = across.floor()
    margin = torch.minimum(_to_edge(down), _to_edge(across))
    line = (margin > per_image(uniform(0.03, 0.25, (count,), generator))).float()
    shade = _hashed(row, column, uniform(1, 2, (count,), generator))
    weave = torch.where((row + column) % 2 == 0, down - row, across - column)
    kind = per_image(integers(0, 3, (count,), generator))
    solid = torch.where(kind == 0, (row + column) % 2, weave)
    return torch.where(kind == 1, line, torch.where(kind == 2, line * (0.3 + 0.7 * shade), solid))


def turned_grid(count: int, size: Size, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return coordinates from -0.5 to 0.5 along the shorter side, rotated at random: two of ``(count, H, W)``."""
    side = min(size)
    y, x = ((torch.arange(n, device=generator.device) - (n - 1) / 2) / side for n in size)
    angle = per_image(uniform(0, 2 * math.pi, (count,), generator))
    sine, cosine = angle.sin(), angle.cos()
    return y[:, None] * cosine + x * sine, x * cosine - y[:, None] * sine


def gaussian_noise(
    slopes: Tensor, size: Size, generator: Generator, *, stretch: Tensor | None = None, band: bool = False
) -> Tensor:
    """Draw Gaussian noise of mean 0 and deviation 1 whose amplitude falls with frequency as ``1 / f^slope``.

    Args:
        slopes: ``(n,)``.
        size: Height and width in pixels.
        generator: Source of the phases and amplitudes.
        stretch: ``(n,)``, 1 or more: ratio of length to width of its structures, in a random direction.
        band: True to leave out frequencies below a random one.

    Returns:
        ``(n, H, W)`` float32.
    """
    count, device = len(slopes), generator.device
    height, width = (-(-length // 16) * 16 for length in size)  # multiples of 16: fast to transform
    y, x = torch.fft.fftfreq(height, device=device)[:, None], torch.fft.rfftfreq(width, device=device)
    angle = per_image(uniform(0, math.pi, (count,), generator))
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    squared = (along * per_image(torch.ones(count, device=device) if stretch is None else stretch)) ** 2 + across**2
    lowest = 0.5 / max(height, width)
    amplitude = squared.clamp(min=lowest**2) ** (-per_image(slopes) / 2)
    if band:
        amplitude = amplitude * (squared.sqrt() > per_image(log_uniform(3, 30, (count,), generator)) / min(size))
    amplitude[:, 0, 0] = 0
    parts = torch.randn(count, height, width // 2 + 1, 2, generator=generator, device=device)
    field = torch.fft.irfft2(torch.view_as_complex(parts) * amplitude, s=(height, width))[:, : size[0], : size[1]]
    centered = field - field.mean((1, 2), keepdim=True)
    scaled: Tensor = centered / centered.std((1, 2), correction=0, keepdim=True).clamp(min=1e-12)
    return scaled


def voronoi(count: int, size: Size, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances to the nearest and second nearest point of a jittered grid, in cells, and the nearest's value.

    Returns:
        Three of ``(count, H, W)``: distances 0 or more, values 0..1.
    """
    across_side = log_uniform(3, 28, (count,), generator)
    place = torch.stack(turned_grid(count, size, generator), dim=1) * across_side[:, None, None, None]
    place = place - place.amin((2, 3), keepdim=True) + 1
    edge = int(place.max().item()) + 2
    jitter = uniform(0.1, 1, (count, 1, 1), generator)
    points = 0.5 + (uniform(0, 1, (count, 2, edge * edge), generator) - 0.5) * jitter
    values = uniform(0, 1, (count, edge * edge), generator)
    cell = place.floor().long()
    nearest = torch.full((count, *size), torch.inf, device=generator.device)
    second, winner = nearest.clone(), torch.zeros_like(cell[:, 0])
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            index = (cell[:, 0] + down) * edge + cell[:, 1] + across
            flat = index.flatten(1)
            offset = points.gather(2, flat[:, None].expand(-1, 2, -1)).view(count, 2, *size)
            y, x = (cell - place + offset).unbind(1)
            distance = ((y + down) ** 2 + (x + across) ** 2).sqrt()
            second = torch.minimum(second, torch.maximum(nearest, distance))
            winner = torch.where(distance < nearest, index, winner)
            nearest = torch.minimum(nearest, distance)
    return nearest, second, values.gather(1, winner.flatten(1)).view(count, *size)


def soften(field: Tensor, generator: Generator) -> Tensor:
    """Threshold ``field`` ``(n, H, W)``, of deviation about 1, at a random level with a random softness."""
    level = per_image(uniform(-0.6, 0.6, (len(field),), generator))
    return torch.sigmoid(per_image(log_uniform(1.5, 40, (len(field),), generator)) * (field - level))


def flattened(field: Tensor) -> Tensor:
    """Map standard normal values to their quantiles, uniform over 0..1."""
    ranks: Tensor = torch.special.ndtr(field)
    return ranks


def _to_edge(coordinate: Tensor) -> Tensor:
    """Return the distance to the nearest integer, 0..0.5."""
    return (coordinate - coordinate.round()).abs()


def _hashed(row: Tensor, column: Tensor, seed: Tensor) -> Tensor:
    """Hash each cell to a value of 0..1 without visible pattern; ``seed`` ``(n,)``."""
    return (torch.sin(row * 12.9898 + column * 78.233 + per_image(seed) * 37.719) * 437.5853) % 1


FAMILIES: dict[str, Family] = {
    "stripes": stripes,
    "gradients": gradients,
    "noise": noise,
    "fibers": fibers,
    "blobs": blobs,
    "cells": cells,
    "tiles": tiles,
}
"""Families by name; all are equally likely."""
