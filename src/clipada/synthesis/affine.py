"""Affine warps of batches of images."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate ``(B, C, H, W)`` about the center, each image by its own ``degrees`` ``(B,)``: bilinear, zero outside.

    Positive angles rotate counterclockwise.
    """
    return warp(images, rotations(degrees, (images.shape[2], images.shape[3])))


def rotations(degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the affine maps ``(B, 2, 3)`` that rotate images of ``size`` (height, width) by ``degrees`` ``(B,)``."""
    aspect = size[0] / size[1]
    radians = degrees.deg2rad()
    cosine, sine, still = radians.cos(), radians.sin(), torch.zeros_like(radians)
    return torch.stack((cosine, -sine * aspect, still, sine / aspect, cosine, still), dim=1).view(-1, 2, 3)


def warp(images: Tensor, theta: Tensor, outside: str = "zeros") -> Tensor:
    """Resample images with affine maps.

    Args:
        images: ``(B, C, H, W)``.
        theta: ``(B, 2, 3)``: map from each pixel to its source position, as in ``torch.nn.functional.affine_grid``:
            source ``x`` and ``y`` from ``x``, ``y`` and 1, with the image's edges at -1 and 1.
        outside: ``padding_mode`` of ``grid_sample``.

    Returns:
        ``(B, C, H, W)``, bilinear.
    """
    y, x = (_centers(n, images.device) for n in images.shape[-2:])
    weights = theta.to(images.dtype)[..., None, None]
    grid = images.new_empty(
        len(images), 2, *images.shape[-2:]
    )  # separate planes of x and y are computed and sampled faster than pairs
    torch.add(weights[:, :, 0] * x, weights[:, :, 1] * y[:, None] + weights[:, :, 2], out=grid)
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode=outside, align_corners=False)


@lru_cache(maxsize=16)
def _centers(count: int, device: torch.device) -> Tensor:
    """Return the positions of the centers of ``count`` pixels between -1 and 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1
