"""Pixel coordinates and random draws per image, shared by the scene modules."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import per_image, uniform

Size = tuple[int, int]


def pixels(size: Size) -> tuple[Tensor, Tensor]:
    """Return rows ``(1, H, 1)`` and columns ``(1, 1, W)`` in pixels."""
    return torch.arange(float(size[0]))[None, :, None], torch.arange(float(size[1]))[None, None, :]


def turned(count: int, size: Size, generator: Generator, degrees: float = 180.0) -> tuple[Tensor, Tensor]:
    """Return pixel coordinates rotated by up to ``degrees`` and shifted at random: two of ``(count, H, W)``."""
    y, x = pixels(size)
    angle = per_image(uniform(-1, 1, (count,), generator) * math.radians(degrees))
    down, across = (per_image(uniform(0, 64, (count,), generator)) for _ in range(2))
    sine, cosine = angle.sin(), angle.cos()
    return y * cosine + x * sine + down, x * cosine - y * sine + across


def hashed(row: Tensor, column: Tensor, seed: Tensor) -> Tensor:
    """Hash each cell of a grid to a value of 0..1 without visible pattern; ``seed`` ``(n, 1, 1)``."""
    return (torch.sin(row * 12.9898 + column * 78.233 + seed * 37.719) * 4375.853) % 1


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Convert colors ``(n, 3)`` of range 0..1; hue is periodic over 0..1."""
    shift = torch.tensor([5.0, 3.0, 1.0])
    k = (shift + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))
