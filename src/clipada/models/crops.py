"""Boxes of the input that are read, one for each product, and the way of a map back into the whole image.

Cutting a box out and resizing it to the input size is linear and separable, and so is the way back: one matrix for the
rows and one for the columns of each product, which every runtime multiplies alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.models.filter import SCALE


class Crops(nn.Module):
    """Boxes of each product.

    Shapes: ``P`` products, ``B`` images of ``H x W`` pixels, token grid ``h x w``.

    Args:
        boxes: ``(P, 4)`` as shares of the image: left, top, right, bottom, 0..1; ``(0, 0, 1, 1)`` for the whole image.
            Each has the image's own aspect ratio, but for rounding.
        size: ``(H, W)``.
        grid: ``(h, w)``.
    """

    boxes: Tensor
    rows: Tensor
    columns: Tensor
    paste_rows: Tensor
    paste_columns: Tensor

    def __init__(self, boxes: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.grid = size, grid
        self.register_buffer("boxes", boxes.float())
        spans = [
            (_span(top, bottom, size[0]), _span(left, right, size[1])) for left, top, right, bottom in boxes.tolist()
        ]
        self.any = any(span != ((0, size[0]), (0, size[1])) for span in spans)
        stacks = {
            "rows": [cut_matrix(*rows, size[0]) for rows, _ in spans if self.any],
            "columns": [cut_matrix(*columns, size[1]) for _, columns in spans if self.any],
            "paste_rows": [paste_matrix(*rows, size[0], SCALE * grid[0]) for rows, _ in spans],
            "paste_columns": [paste_matrix(*columns, size[1], SCALE * grid[1]) for _, columns in spans],
        }
        for name, matrices in stacks.items():
            self.register_buffer(name, torch.stack(matrices) if matrices else torch.zeros(0), persistent=False)

    def cut(self, images: Tensor, products: Tensor) -> Tensor:
        """Return the box of each image ``(B, 3, H, W)``, resized to ``(B, 3, H, W)``."""
        rows, columns = self.rows[products].unsqueeze(1), self.columns[products].unsqueeze(1)
        return rows @ images @ columns.transpose(2, 3)

    def paste(self, maps: Tensor, products: Tensor) -> Tensor:
        """Return maps of the boxes, ``(B, 4 h, 4 w)``, in the whole image, ``(B, H, W)``; 0 outside."""
        return self.paste_rows[products] @ maps @ self.paste_columns[products].transpose(1, 2)


def cut_matrix(start: int, stop: int, size: int) -> Tensor:
    """Build the matrix ``(size, size)`` that resizes pixels ``start`` to ``stop`` of an axis to all of it, bicubic.

    Images are read bicubic too; the bilinear resize would blur what the box is to show larger.
    """
    matrix = torch.zeros(size, size)
    matrix[:, start:stop] = resize_matrix(stop - start, size, "bicubic")
    return matrix


def paste_matrix(start: int, stop: int, size: int, cells: int) -> Tensor:
    """Build the matrix ``(size, cells)`` that resizes an axis of cells to pixels ``start`` to ``stop``, 0 elsewhere."""
    identity = torch.eye(cells)[None, None]
    matrix = torch.zeros(size, cells)
    matrix[start:stop] = F.interpolate(identity, size=(stop - start, cells), mode="bilinear", align_corners=False)[0, 0]
    return matrix


def resize_matrix(old: int, new: int, mode: str = "bilinear") -> Tensor:
    """Build the matrix ``(new, old)`` of the antialiased resize of one axis, bilinear or bicubic."""
    identity = torch.eye(old)[None, None]
    return F.interpolate(identity, size=(new, old), mode=mode, align_corners=False, antialias=True)[0, 0]


def whole_images(products: int) -> Tensor:
    """Return boxes of whole images, ``(P, 4)``."""
    return torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(products, 1)


def with_aspect(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Widen a box, in shares of the image, to the image's aspect ratio, inside the image."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    starts = []
    for low, high in ((left, right), (top, bottom)):
        start = (low + high - side) / 2
        starts.append(min(max(0.0, start), 1.0 - side))
    return starts[0], starts[1], starts[0] + side, starts[1] + side


def _span(start: float, stop: float, size: int) -> tuple[int, int]:
    """Return a part of an axis in pixels, at least one."""
    first = min(size - 1, round(start * size))
    return first, min(size, max(first + 1, round(stop * size)))
