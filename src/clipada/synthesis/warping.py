"""Images turned, zoomed and shifted, a batch at once."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate ``(B, C, H, W)`` about the center, each image by its own ``degrees`` ``(B,)``: bilinear, zero outside.

    Positive angles turn counter-clockwise.
    """
    return warp(images, turns(degrees, (images.shape[2], images.shape[3])))


def turns(degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """What ``warp`` takes to turn images of ``size``, height and width, by ``degrees`` ``(B,)``: ``(B, 2, 3)``."""
    aspect = size[0] / size[1]
    radians = degrees.deg2rad()
    cosine, sine, still = radians.cos(), radians.sin(), torch.zeros_like(radians)
    return torch.stack((cosine, -sine * aspect, still, sine / aspect, cosine, still), dim=1).view(-1, 2, 3)


def warp(images: Tensor, theta: Tensor, outside: str = "zeros") -> Tensor:
    """Look at images through affine maps.

    Args:
        images: ``(B, C, H, W)``.
        theta: ``(B, 2, 3)``: where in the image each pixel is taken from, as in ``torch.nn.functional.affine_grid``:
            ``x`` and ``y`` from ``x``, ``y`` and 1, the image's edges lying at -1 and 1.
        outside: What lies beyond the edges, in ``grid_sample``'s words.

    Returns:
        ``(B, C, H, W)``, bilinear.
    """
    y, x = (_centers(n, images.device) for n in images.shape[-2:])
    weights = theta.to(images.dtype)[..., None, None]
    grid = images.new_empty(len(images), 2, *images.shape[-2:])  # planes: made and sampled faster than pairs
    torch.add(weights[:, :, 0] * x, weights[:, :, 1] * y[:, None] + weights[:, :, 2], out=grid)
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode=outside, align_corners=False)


@lru_cache(maxsize=16)
def _centers(count: int, device: torch.device) -> Tensor:
    """Where the centers of ``count`` pixels lie between -1 and 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1
