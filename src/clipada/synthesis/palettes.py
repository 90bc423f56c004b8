"""Random palettes that color gray patterns, from natural to garish."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, log_uniform, per_image, uniform
from clipada.synthesis.patterns import flattened, gaussian_noise

LEVELS = 256
"""Number of steps of a palette."""

MOST_COLORS = 4
"""Largest number of colors of a palette."""


def color(patterns: Tensor, generator: Generator) -> Tensor:
    """Color patterns with random palettes; some use a second palette in random areas, most get relief.

    Args:
        patterns: ``(n, H, W)`` of range 0..1.
        generator: Source of all randomness.

    Returns:
        ``(n, 3, H, W)`` float32 of range 0..1.
    """
    count, height, width = patterns.shape
    slopes = uniform(0, 2.5, (count,), generator)
    second = flattened(gaussian_noise(slopes, (height, width), generator))
    patched = per_image(chance(0.25, (count,), generator) & (slopes > 1.5))
    index = (patterns * (LEVELS - 1)).round().long() + LEVELS * (patched & (second > 0.5))
    table = torch.cat((draw_palettes(count, generator), draw_palettes(count, generator)), dim=2)
    colors = table.gather(2, index.view(count, 1, -1).expand(-1, 3, -1)).view(count, 3, height, width)
    relief = uniform(0, 0.7, (count,), generator) * chance(0.7, (count,), generator)
    return (colors * (1 + relief[:, None, None, None] * (second[:, None] - 0.5))).clamp(0, 1)


def draw_palettes(count: int, generator: Generator) -> Tensor:
    """Draw random palettes of 2 to 4 colors, ``(count, 3, LEVELS)`` of range 0..1.

    Colors change gradually or in hard steps, once over the range or back and forth up to 4 times.
    """
    anchors = torch.where(chance(0.5, (count, 1, 1), generator), _natural(count, generator), _free(count, generator))
    turns = torch.where(chance(0.75, (count, 1), generator), 1, integers(2, 4, (count, 1), generator))
    run = torch.linspace(0, 1, LEVELS, device=generator.device) * turns
    position = (1 - ((run % 2) - 1).abs()) * (integers(2, MOST_COLORS, (count, 1), generator) - 1)
    low = position.floor().clamp(max=MOST_COLORS - 2)
    share = position - low
    share = torch.where(chance(0.3, (count, 1), generator), share.round(), share)[:, None]
    first, second = (anchors.gather(2, (low.long() + step)[:, None].expand(-1, 3, -1)) for step in (0, 1))
    return first + share * (second - first)


def _free(count: int, generator: Generator) -> Tensor:
    """Draw any colors: ``(count, 3, MOST_COLORS)``."""
    return uniform(0, 1, (count, 3, MOST_COLORS), generator)


def _natural(count: int, generator: Generator) -> Tensor:
    """Draw shades of a low-saturated tint, as of metal, wood, stone, dust or rust: ``(count, 3, MOST_COLORS)``."""
    shades = uniform(0, 1, (count, 1, MOST_COLORS), generator)
    tint = 1 - uniform(0, 1, (count, 3, 1), generator) * log_uniform(0.02, 0.7, (count, 1, 1), generator)
    drift = uniform(-0.05, 0.05, (count, 3, MOST_COLORS), generator)
    return (shades * tint + drift).clamp(0, 1)
