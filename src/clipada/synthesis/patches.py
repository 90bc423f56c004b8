"""Textures copied from the batch's own images: parts of products in wrong places."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.affine import warp
from clipada.synthesis.draws import chance, integers, log_uniform, uniform

VISIBLE_DIFFERENCE = 0.03
"""Mean absolute difference of values 0..1 from which two areas count as different: about 8 of 255 levels."""


def moved_images(images: Tensor, targets: Tensor, generator: Generator) -> Tensor:
    """Return another image of the batch for each target: rotated, flipped, zoomed, and shifted by at least 1/8.

    In a batch of one image, that image is used.

    Args:
        images: ``(B, 3, H, W)``.
        targets: ``(N,)`` positions in the batch.
        generator: Source of all randomness.

    Returns:
        ``(N, 3, H, W)``; images are continued by reflection beyond their borders.
    """
    others = len(images) - 1
    step = integers(1, max(others, 1), (len(targets),), generator)
    sources = images[(targets + step) % len(images)]
    theta = _draw_motions(len(targets), sources.shape[2] / sources.shape[3], generator).to(images.dtype)
    return warp(sources, theta, "reflection")


def visible(images: Tensor, changed: Tensor) -> Tensor:
    """Mask visible changes: those whose mean over 1/16 of the side reaches ``VISIBLE_DIFFERENCE``.

    Background copied onto the same background is no anomaly (cf. NSA, Schlueter et al., ECCV 2022, section 3.2).

    Args:
        images: ``(B, 3, H, W)`` of range 0..1.
        changed: ``(B, 3, H, W)`` of range 0..1.

    Returns:
        ``(B, 1, H, W)`` float32, 0 or 1.
    """
    reach = min(images.shape[-2:]) // 32
    nearby = (images - changed).abs().mean(dim=1, keepdim=True)
    seen = _window_mean(_window_mean(nearby, reach).mT, reach).mT >= VISIBLE_DIFFERENCE
    return seen.float()


def _window_mean(values: Tensor, reach: int) -> Tensor:
    """Average the values up to ``reach`` away along the last axis, inside the image; same shape."""
    length = values.shape[-1]
    place = torch.arange(length, device=values.device)
    counts = (place + reach).clamp(max=length - 1) - (place - reach).clamp(min=0) + 1
    sums = F.pad(values, (reach + 1, reach)).cumsum(-1)
    return (sums[..., 2 * reach + 1 :] - sums[..., :length]) / counts


def _draw_motions(count: int, aspect: float, generator: Generator) -> Tensor:
    """Draw random affine maps from target to source, ``(count, 2, 3)``, in ``affine_grid``'s coordinates of -1..1.

    Args:
        count: Number of maps.
        aspect: Height over width of the images, so that rotations keep shapes.
        generator: Source of all randomness.
    """
    angle = uniform(-math.pi, math.pi, (count,), generator)
    zoom = log_uniform(0.5, 1.25, (count,), generator)
    flip = 1 - 2 * chance(0.5, (count,), generator).float()
    shift = uniform(0.25, 0.75, (count, 2), generator) * (1 - 2 * chance(0.5, (count, 2), generator).float())
    return motions(angle, zoom, flip, shift, aspect)


def motions(angle: Tensor, zoom: Tensor, flip: Tensor, shift: Tensor, aspect: float) -> Tensor:
    """Return affine maps from target to source that turn, zoom, flip and shift, in coordinates of ``affine_grid``.

    Args:
        angle: ``(N,)`` radians.
        zoom: ``(N,)``: pixels of the source for each pixel of the target.
        flip: ``(N,)``: -1 to flip the source, 1 to keep it.
        shift: ``(N, 2)``: across and down, in halves of the sides.
        aspect: Height over width of the images, so that rotations keep shapes.

    Returns:
        ``(N, 2, 3)``.
    """
    across = torch.stack((zoom * flip * angle.cos(), -zoom * angle.sin() * aspect, shift[:, 0]), dim=1)
    down = torch.stack((zoom * flip * angle.sin() / aspect, zoom * angle.cos(), shift[:, 1]), dim=1)
    return torch.stack((across, down), dim=1)
