"""Contact sheet of training samples for visual inspection."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor

from clipada.types import Image

GAP = 4
"""Width of the white gap between cells, in pixels."""


def contact_sheet(images: Tensor, masks: Tensor | None = None, columns: int | None = None) -> Image:
    """Arrange images in a grid, each next to a copy with its mask tinted red and outlined.

    Args:
        images: ``(B, 3, H, W)`` float of range 0..1.
        masks: ``(B, 1, H, W)``, 0 or 1; without them, images have no copies.
        columns: Number of images (or pairs) in a row; by default chosen for a nearly square sheet.

    Returns:
        ``(H', W', 3)`` uint8.
    """
    cells = _to_uint8(images)
    if masks is not None:
        marked = [_marked(cell, mask) for cell, mask in zip(cells, masks[:, 0].cpu().numpy() > 0, strict=True)]
        cells = np.concatenate((cells, np.stack(marked)), axis=2)
    columns = columns or max(1, round(math.sqrt(len(cells) / (1 if masks is None else 2))))
    rows = -(-len(cells) // columns)
    height, width = cells.shape[1:3]
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        top, left = row * (height + GAP) + GAP, column * (width + GAP) + GAP
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Convert ``(B, 3, H, W)`` floats 0..1 to ``(B, H, W, 3)`` uint8."""
    levels = (images.detach().clamp(0, 1) * 255).round().byte()
    array: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().numpy()
    return array


def _marked(cell: Image, mask: NDArray[np.bool_]) -> Image:
    """Copy ``cell`` ``(H, W, 3)`` with ``mask`` ``(H, W)`` in red and a yellow outline."""
    marked = cell.copy()
    marked[mask] = (0.6 * cell[mask] + 0.4 * np.array([255, 0, 0])).astype(np.uint8)
    marked[binary_dilation(mask) & ~mask] = (255, 230, 0)
    return marked
