"""Surfaces: colored relief of a material with a print on it."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import integers, log_uniform, per_image, uniform
from nano.draws import Size, hashed, hsv_to_rgb, turned
from nano.materials import MATERIAL_RELIEFS
from nano.words import COLORS, MATERIALS

_HSV = torch.tensor(list(COLORS.values()))  # (colors, 3, 2)
_CONTRAST = torch.tensor(list(MATERIALS.values()))


def surfaces(materials: Tensor, colors: Tensor, prints: Tensor, size: Size, generator: Generator) -> Tensor:
    """Draw one surface for each row of indices into ``MATERIALS``, ``COLORS`` and ``PRINTS``.

    Returns:
        ``(n, 3, H, W)`` of range 0..1.
    """
    count = len(materials)
    relief = torch.empty(count, *size)
    for number, name in enumerate(MATERIALS):
        chosen = (materials == number).nonzero().flatten()
        if len(chosen):
            relief[chosen] = MATERIAL_RELIEFS[name](len(chosen), size, generator)
    low, high = _CONTRAST[materials].unbind(1)
    contrast = low + (high - low) * uniform(0, 1, (count,), generator)
    base = color_values(colors, generator)
    dark = base * (1 - contrast[:, None]) + uniform(-0.03, 0.03, (count, 3), generator)
    light = base + 0.15 * contrast[:, None]
    image = dark[..., None, None] + (light - dark)[..., None, None] * relief.clamp(-0.2, 1.2)[:, None]
    return _printed(image, prints, generator).clamp(0, 1)


def color_values(colors: Tensor, generator: Generator) -> Tensor:
    """Draw a color ``(n, 3)`` within the range of each color word."""
    span = _HSV[colors]
    draw = span[..., 0] + (span[..., 1] - span[..., 0]) * uniform(0, 1, (len(colors), 3), generator)
    return hsv_to_rgb(*draw.unbind(1))


def _printed(image: Tensor, prints: Tensor, generator: Generator) -> Tensor:
    """Print stripes, dots, checks or glyphs of one more color according to ``prints``."""
    chosen = (prints > 0).nonzero().flatten()
    count, size = len(chosen), (image.shape[2], image.shape[3])
    if not count:
        return image
    y, x = turned(count, size, generator)
    pitch = per_image(log_uniform(6, 28, (count,), generator))
    y, x = y / pitch, x / pitch
    stripe = (y % 1 < per_image(uniform(0.15, 0.6, (count,), generator))).float()
    dot = ((0.33 - ((y % 1 - 0.5) ** 2 + (x % 1 - 0.5) ** 2).sqrt()) * pitch + 0.5).clamp(0, 1)
    check = ((y.floor() + x.floor()) % 2).float()
    seed = per_image(uniform(1, 2, (count,), generator))
    line = (y % 2 < 1) & (hashed((y / 2).floor(), (x / 5).floor(), seed + 1) < 0.6)
    glyph = (hashed((y * 5).floor(), (x * 6).floor(), seed) < 0.5) & (x % 1 < 0.75) & line
    kind = per_image(prints[chosen])
    ink = torch.where(kind == 1, stripe, torch.where(kind == 2, dot, torch.where(kind == 3, check, glyph.float())))
    color = color_values(integers(0, len(COLORS) - 1, (count,), generator), generator)
    strength = uniform(0.35, 1, (count,), generator)
    ink = (ink * per_image(strength))[:, None]
    under = image[chosen]
    tone = under / under.mean((2, 3), keepdim=True).clamp(min=0.05)
    image[chosen] = under + ink * (color[..., None, None] * (0.5 + 0.5 * tone) - under)
    return image
