"""The box in which a product's good images show the part, from these images alone.

A cell of the token grid is alive where good parts differ from one another or have structure: where the distance of
their patches to other images' patches, or the local contrast, rises above that of the image's rim. The box holds all
cells that are alive, and a margin. It is used only where it is clearly smaller than the image and both halves of the
images agree on it, so that textures and freely placed parts keep the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.models.crops import with_aspect
from clipada.types import Box

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

RISE = 0.15
"""Share of the way from the rim's value to the highest from which a cell is alive."""

QUANTILE = 0.9
"""Quantile of the images at each cell: structure in one image of ten is enough."""

HIGHEST = 0.99
"""Quantile of the cells that stands for the highest."""

MARGIN = 1
"""Cells added on each side."""

LARGEST = 0.75
"""Largest area of a box, as a share of the image."""

AGREEMENT = 0.85
"""Least overlap of the boxes of both halves of the images, as intersection over union."""

LEAST_IMAGES = 4
"""Fewest images: with two or three, the part may be in the same place by chance."""

_BLUR = 80.0
"""Side of the image over the standard deviation of the blur that local contrast is compared with."""


def part_box(distances: Tensor, images: NDArray[np.uint8], grid: tuple[int, int]) -> Box:
    """Find the part's box, with the image's aspect ratio; the whole image where there is none.

    Args:
        distances: Distances of the patches of some good images to other good images, ``(n, N, L)``.
        images: Good images, ``(m, H, W, 3)`` uint8.
        grid: Token grid ``(h, w)``, ``N = h w``.
    """
    if len(images) < LEAST_IMAGES:
        return WHOLE
    contrast = torch.stack([local_contrast(image, grid) for image in images])
    fields = [one.reshape(-1, *grid) for one in distances.float().unbind(2)]
    box = _bounds([*fields, contrast])
    halves = [_bounds([field[turn::2] for field in (*fields, contrast)]) for turn in (0, 1)]
    if _overlap(*halves) < AGREEMENT:
        return WHOLE
    widened = with_aspect(box)
    return widened if _area(widened) <= LARGEST else WHOLE


def box_of_region(inside: NDArray[np.bool_], grid: tuple[int, int]) -> Box:
    """Return the box of a region of interest ``(H, W)`` with a margin of tokens; the whole image where it is large."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    (height, width), (down, across) = inside.shape, (MARGIN / side for side in grid)
    box = with_aspect(
        (
            max(0.0, columns[0] / width - across),
            max(0.0, rows[0] / height - down),
            min(1.0, (columns[-1] + 1) / width + across),
            min(1.0, (rows[-1] + 1) / height + down),
        )
    )
    return box if _area(box) <= LARGEST else WHOLE


def local_contrast(image: NDArray[np.uint8], grid: tuple[int, int]) -> Tensor:
    """Compute the mean difference of gray levels from their blurred surroundings in each cell, ``(h, w)``, 0..1."""
    gray = image.mean(axis=2, dtype=np.float32) / 255
    edges = np.abs(gray - scipy.ndimage.gaussian_filter(gray, max(gray.shape) / _BLUR))
    return F.adaptive_avg_pool2d(torch.from_numpy(edges)[None, None], grid)[0, 0]


def _bounds(fields: Sequence[Tensor]) -> Box:
    """Return the box of all cells that are alive in any field ``(n, h, w)``, with the margin."""
    alive = torch.stack([_alive(field.quantile(QUANTILE, dim=0)) for field in fields]).any(dim=0)
    if not alive.any():
        return WHOLE
    rows, columns = (alive.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    (height, width), margin = alive.shape, MARGIN
    return (
        max(0, int(columns[0]) - margin) / width,
        max(0, int(rows[0]) - margin) / height,
        min(width, int(columns[-1]) + 1 + margin) / width,
        min(height, int(rows[-1]) + 1 + margin) / height,
    )


def _alive(values: Tensor) -> Tensor:
    """Find the cells ``(h, w)`` that rise above the rim."""
    rim = torch.cat([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]]).median()
    return values > rim + RISE * (values.flatten().quantile(HIGHEST) - rim)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union, 0..1."""
    both = (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    return _area(both) / (_area(one) + _area(other) - _area(both))
