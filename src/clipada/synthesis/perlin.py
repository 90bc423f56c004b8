"""Gradient noise on a batch of lattices (Perlin, "Improving noise", SIGGRAPH 2002).

Every point of a coarse lattice over the image gets a random gradient. The noise near a lattice point is the linear ramp
of its gradient, faded out toward the neighboring points; a pixel adds the ramps of the four corners of its cell. So the
noise is zero at lattice points, smooth between them, and its structures are about one cell large: the number of cells
sets the size of the synthetic defects.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import uniform


def perlin_noise(lattices: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Draw one octave of Perlin noise per lattice.

    Args:
        lattices: ``(B, 2)`` integers, 1 or more: number of cells along rows and columns; need not divide ``size``.
        size: Height and width in pixels.
        generator: Source of the gradients; the result is on its device.

    Returns:
        ``(B, H, W)`` float32 of mean 0, within -1..1, zero at lattice points.
    """
    lattices = lattices.to(generator.device)
    return noise_from_angles(draw_angles(lattices, generator), lattices, size)


def draw_angles(lattices: Tensor, generator: Generator) -> Tensor:
    """Draw uniform gradient directions for every lattice point.

    Returns:
        ``(B, R + 1, C + 1)`` radians; ``R`` and ``C`` are those of the largest lattice, smaller ones use a part.
    """
    rows, columns = (lattices.amax(0) + 1).tolist()
    return uniform(0, 2 * math.pi, (len(lattices), rows, columns), generator)


def noise_from_angles(angles: Tensor, lattices: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute the noise of given gradient directions, scaled by ``sqrt(2)`` as in DRAEM's code.

    A pixel at ``(y, x)``, in cells, is ``sum_kl w(y - k) w(x - l) (g_kl . (y - k, x - l))`` over lattice points
    ``(k, l)`` with gradients ``g`` and ``w(d) = fade(1 - |d|)``, which is zero beyond the four corners of its cell. For
    each component of ``g`` the sum separates into a factor of rows and one of columns: two matrix products per image
    replace the usual lookup of four gradients per pixel.

    Args:
        angles: ``(B, R + 1, C + 1)``: directions of the gradients, in radians.
        lattices: ``(B, 2)`` integers: cells along rows and columns, at most ``R`` and ``C``.
        size: Height and width in pixels; pixel ``i`` of ``H`` is at ``i * cells / H``.

    Returns:
        ``(B, H, W)`` float32.
    """
    noise = torch.empty(len(angles), *size, device=angles.device)
    for cells, directions, field in zip(lattices.tolist(), angles, noise, strict=True):
        row_weights, row_slopes = _axis_weights(cells[0], size[0], angles.device)
        column_weights, column_slopes = _axis_weights(cells[1], size[1], angles.device)
        used = math.sqrt(2) * directions[: cells[0] + 1, : cells[1] + 1].sin()
        torch.mm(row_slopes, used @ column_weights.mT, out=field)
        used = math.sqrt(2) * directions[: cells[0] + 1, : cells[1] + 1].cos()
        field.addmm_(row_weights, used @ column_slopes.mT)
    return noise


@lru_cache(maxsize=64)
def _axis_weights(cells: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ``w(d)`` and ``d w(d)`` for each pixel's distance ``d`` to each lattice point: ``(length, cells + 1)``."""
    pixels = torch.arange(length, device=device)[:, None]
    lattice = torch.arange(cells + 1, device=device)
    distance = (pixels * cells - lattice * length) / length  # integers first: exact on lattice points
    weights = _fade((1 - distance.abs()).clamp(min=0))
    return weights, weights * distance


def _fade(t: Tensor) -> Tensor:
    """Return ``6 t^5 - 15 t^4 + 10 t^3``: 0 to 1 with zero slope and curvature at both ends."""
    return t**3 * (t * (6 * t - 15) + 10)
