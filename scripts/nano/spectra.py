"""Spectrum of the texture around each patch: a regression target, like HOG in MaskFeat (Wei et al., CVPR 2022)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WAVES, TURNS, LEVELS = (3.2, 4.6), 8, 3
"""Wavelengths in pixels and orientations of the Gabor filters, and the number of image halvings in between."""

SPREAD = 5.0
"""Deviation in pixels of the window around a patch's center, which covers neighboring patches."""

REACH = 32
"""Width of the window, in pixels."""

CELL = 4
"""Side in pixels of the squares that are averaged first."""

DARK = 2e-3
"""Constant added to amplitudes before the logarithm: about the sensor noise."""

BRIGHTNESS = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
"""Brightness and two opponent colors."""

CHANNELS = LEVELS * len(WAVES) * TURNS + len(BRIGHTNESS)


def log_spectra(images: Tensor, patch: int) -> Tensor:
    """Compute log amplitudes of brightness by wavelength and orientation, and the mean color, around each patch.

    Args:
        images: ``(n, 3, H, W)`` of range 0..1.
        patch: Side of a patch in pixels, a multiple of ``CELL``.

    Returns:
        ``(n, N, CHANNELS)``.
    """
    opponents = torch.einsum("kc,nchw->nkhw", torch.tensor(BRIGHTNESS), images)
    level, cells = opponents[:, :1], []
    for number in range(LEVELS):
        padded = F.pad(level, (5, 5, 5, 5), mode="reflect")
        even, odd = F.conv2d(padded, _gabors()).view(len(images), -1, 2, *level.shape[2:]).unbind(2)
        amplitudes = (even.square() + odd.square() + 1e-6).sqrt()
        cells.append(F.avg_pool2d(amplitudes, CELL >> number))
        level = F.avg_pool2d(level, 2)
    means = _windows(F.avg_pool2d(opponents, CELL), patch // CELL)
    return torch.cat(((_windows(torch.cat(cells, 1), patch // CELL) + DARK).log(), means), 2)


def windowed_waves(side: int, wave: float, turns: int, spread: float) -> tuple[Tensor, list[Tensor]]:
    """Return the factors of Gabor filters: a Gaussian window and, for each orientation, an even and an odd wave.

    Args:
        side: Height and width of each, in pixels.
        wave: Wavelength in pixels.
        turns: Number of orientations.
        spread: The window's deviation in pixels.
    """
    axis = torch.arange(side) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    waves: list[Tensor] = []
    for turn in range(turns):
        angle = math.pi * turn / turns
        along = 2 * math.pi / wave * (x * math.cos(angle) + y * math.sin(angle))
        waves += [along.cos(), along.sin()]
    return torch.exp(-(x.square() + y.square()) / (2 * spread**2)), waves


def _gabors(side: int = 11) -> Tensor:
    """Return even and odd filters in turn, with mean 0, ``(2 * waves * turns, 1, side, side)``."""
    filters = []
    for wave in WAVES:
        window, planes = windowed_waves(side, wave, TURNS, 0.5 * wave)
        window = window / window.sum()
        filters += [window * (plane - (window * plane).sum()) for plane in planes]
    return torch.stack(filters)[:, None]


def _windows(cells: Tensor, stride: int) -> Tensor:
    """Compute Gaussian means ``(n, N, c)`` of cells ``(n, c, h, w)`` around patches of ``stride x stride`` cells."""
    reach = REACH // CELL
    axis = torch.arange(reach) - (reach - 1) / 2
    window = torch.exp(-axis.square() / (2 * (SPREAD / CELL) ** 2))
    window = window / window.sum()
    count, channels = cells.shape[:2]
    padded = F.pad(cells, ((reach - stride) // 2,) * 4, mode="reflect").flatten(0, 1)[:, None]
    rows = F.conv2d(padded, window[None, None, :, None], stride=(stride, 1))
    return F.conv2d(rows, window[None, None, None], stride=(1, stride)).reshape(count, channels, -1).mT
