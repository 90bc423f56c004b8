"""Boxes of the input that are read, one for each product, and the way of their maps back into the whole image.

Cutting a box out and resizing it to the input size is linear and separable, and so is the way back: one matrix for the
rows and one for the columns of each product, which every runtime multiplies alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.images.roi import RegionsOfInterest
from clipada.models.filter import SCALE


class Crops(nn.Module):
    """Boxes of each product.

    Shapes: ``P`` products, ``B`` images of ``H x W`` pixels, token grid ``h x w`` of a box, ``v x u`` of the view of
    the whole image, if there is one.

    Args:
        boxes: ``(P, 4)`` as shares of the image: left, top, right, bottom, 0..1; ``(0, 0, 1, 1)`` for the whole image.
            Each has the image's own aspect ratio, but for rounding.
        size: ``(H, W)``.
        grid: ``(h, w)``.
        whole_grid: ``(v, u)``; ``None`` if only the boxes are read.
        inside: Regions of interest, ``(P, H, W)`` bool; ``None`` if all of every image counts.
        tiled: True if tiles are read beside whole images: each comes with the region of interest that it shows.
    """

    boxes: Tensor
    rows: Tensor
    columns: Tensor
    paste_rows: Tensor
    paste_columns: Tensor
    share: Tensor
    inside: Tensor | None
    cells: Tensor | None

    def __init__(
        self,
        boxes: Tensor,
        size: tuple[int, int],
        grid: tuple[int, int],
        whole_grid: tuple[int, int] | None = None,
        inside: Tensor | None = None,
        tiled: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.grid, self.whole_grid, self.tiled = size, grid, whole_grid, tiled
        self.register_buffer("boxes", boxes.float())
        spans = [
            (_span(top, bottom, size[0]), _span(left, right, size[1])) for left, top, right, bottom in boxes.tolist()
        ]
        self.any = any(span != ((0, size[0]), (0, size[1])) for span in spans)
        ramps = [
            torch.outer(ramp(*rows, size[0], SCALE * grid[0]), ramp(*columns, size[1], SCALE * grid[1]))
            for rows, columns in spans
        ]
        stacks = {
            "rows": [cut_matrix(*rows, size[0]) for rows, _ in spans if self.any],
            "columns": [cut_matrix(*columns, size[1]) for _, columns in spans if self.any],
            "paste_rows": [paste_matrix(*rows, size[0], SCALE * grid[0]) for rows, _ in spans],
            "paste_columns": [paste_matrix(*columns, size[1], SCALE * grid[1]) for _, columns in spans],
            "share": ramps,
        }
        for name, matrices in stacks.items():
            self.register_buffer(name, torch.stack(matrices) if matrices else torch.zeros(0), persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        cells = None if inside is None else cells_inside(inside, grid).float()
        self.register_buffer("cells", cells, persistent=False)

    def cut(self, images: Tensor, products: Tensor) -> Tensor:
        """Return the box of each image ``(B, 3, H, W)``, resized to ``(B, 3, H, W)``."""
        if not self.any:
            return images
        rows, columns = self.rows[products].unsqueeze(1), self.columns[products].unsqueeze(1)
        return rows @ images @ columns.transpose(2, 3)

    @property
    def given_inside(self) -> bool:
        """True if images come with the region of interest that they show."""
        return self.tiled and self.inside is not None

    def completed(self, inside: Tensor, products: Tensor) -> Tensor:
        """Return the regions of interest in images ``(B, H, W)`` as given, or the product's where they are -1."""
        if self.inside is None:
            raise ValueError("there are no regions of interest")
        return torch.where(inside < 0, self.inside[products].float(), inside.float())

    def joined(
        self, part: Tensor, whole: Tensor | None, outside: Tensor, products: Tensor, inside: Tensor | None = None
    ) -> Tensor:
        """Average the maps of the boxes and of the whole image.

        The box's own map falls to its value outside over the width of a token at those of its sides that are inside of
        the image. Outside of a region of interest, both have that value.

        Args:
            part: Maps of the boxes, ``(B, 4 h, 4 w)``.
            whole: Maps of the whole image, ``(B, 4 v, 4 u)``; ``None`` if only the boxes are read.
            outside: Value of the boxes' maps outside of the boxes, ``()``.
            products: ``(B,)`` int64.
            inside: Region of interest in each image, ``(B, H, W)``, where it is not that of its product. It is ignored
                where boxes are read.

        Returns:
            ``(B, 4 h, 4 w)``.
        """
        pasted = self.paste_rows[products] @ part @ self.paste_columns[products].transpose(1, 2)
        boxes = outside + self.share[products] * (pasted - outside)
        if whole is not None:
            boxes = (boxes + _resized(whole, (SCALE * self.grid[0], SCALE * self.grid[1]))) / 2
        if self.cells is None:
            return boxes
        cells = self.cells[products] if inside is None or self.any else cells_inside(inside, self.grid).float()
        return outside + cells * (boxes - outside)

    def inside_boxes(self) -> Tensor | None:
        """Return the regions of interest as the boxes show them, ``(P, H, W)`` bool."""
        if self.inside is None or not self.any:
            return self.inside
        cut = self.cut(self.inside.unsqueeze(1).float(), torch.arange(len(self.inside)))
        return cut.squeeze(1) > 0.5

    def shown(self, whole: bool = False) -> Tensor | None:
        """Find the tokens of the boxes, or of the whole image, that show any of the regions of interest, ``(P, N)``."""
        inside, grid = (self.inside, self.whole_grid) if whole else (self.inside_boxes(), self.grid)
        return None if inside is None or grid is None else shown_tokens(inside, grid)

    def enlarged(self, maps: Tensor) -> Tensor:
        """Resize maps of whole images, ``(B, 4 h, 4 w)``, to ``(B, H, W)``."""
        return _resized(maps, self.size)


def cells_inside(inside: Tensor, grid: tuple[int, int]) -> Tensor:
    """Find the cells of a map of which at least half is inside of a region of interest; its fullest always are.

    Args:
        inside: ``(P, H, W)``, bool or 0 and 1.
        grid: Token grid ``(h, w)``.

    Returns:
        ``(P, 4 h, 4 w)`` bool.
    """
    size = SCALE * grid[0], SCALE * grid[1]
    every = torch.ones(1, *inside.shape[1:], device=inside.device)
    shares = pixels_inside(inside, size) / pixels_inside(every, size)
    return shares >= shares.amax(dim=(1, 2), keepdim=True).clamp_max(0.5)


def shown_tokens(inside: Tensor, grid: tuple[int, int]) -> Tensor:
    """Find the tokens of a grid ``(h, w)`` that show any of a region of interest ``(P, H, W)``, ``(P, h w)`` bool."""
    return pixels_inside(inside, grid).flatten(1) > 0


def pixels_inside(inside: Tensor, size: tuple[int, int]) -> Tensor:
    """Count the pixels inside of regions of interest ``(P, H, W)`` in each of ``size`` cells, ``(P, *size)``.

    Cells are those of an adaptive pooling: they may share pixels. A product of matrices is the same in every runtime.
    """
    rows, columns = (_cells_of(old, new, inside.device) for old, new in zip(inside.shape[1:], size, strict=True))
    return rows @ inside.float() @ columns.T


def inside_tensor(regions: RegionsOfInterest | None, products: Sequence[str], size: tuple[int, int]) -> Tensor | None:
    """Return the regions of interest of products in images of ``size``, ``(P, H, W)`` bool; ``None`` without any."""
    if regions is None:
        return None
    masks = [regions.inside(name, size) for name in products]
    return torch.from_numpy(np.stack([np.ones(size, np.bool_) if one is None else one for one in masks]))


def cut_matrix(start: int, stop: int, size: int) -> Tensor:
    """Build the matrix ``(size, size)`` that resizes pixels ``start`` to ``stop`` of an axis to all of it, bicubic.

    Images are read bicubic too; the bilinear resize would blur what the box is to show larger.
    """
    matrix = torch.zeros(size, size)
    matrix[:, start:stop] = resize_matrix(stop - start, size, "bicubic")
    return matrix


def paste_matrix(start: int, stop: int, size: int, cells: int) -> Tensor:
    """Build the matrix ``(cells, cells)`` from cells of a box to cells of the whole axis, linear, 0 outside.

    Args:
        start: First pixel of the box.
        stop: Pixel after its last.
        size: Pixels of the axis.
        cells: Cells of the box, and of the axis.
    """
    places = _centers(size, cells)
    inside = (places >= start) & (places <= stop)
    within = ((places - start) / (stop - start) * cells - 0.5).clamp(0, cells - 1)
    distance = (within[:, None] - torch.arange(cells)).abs()
    return (1 - distance).clamp_min(0) * inside[:, None]


def ramp(start: int, stop: int, size: int, cells: int) -> Tensor:
    """Build the weight of a box along an axis, ``(cells,)``: 1 in it, 0 outside, over a token at an inner side."""
    places, token = _centers(size, cells), size * SCALE / cells
    left = (places - start) / token if start else torch.ones(cells)
    right = (stop - places) / token if stop < size else torch.ones(cells)
    return torch.minimum(left, right).clamp(0, 1)


def resize_matrix(old: int, new: int, mode: str = "bilinear") -> Tensor:
    """Build the matrix ``(new, old)`` of the antialiased resize of one axis, bilinear or bicubic."""
    identity = torch.eye(old)[None, None]
    return F.interpolate(identity, size=(new, old), mode=mode, align_corners=False, antialias=True)[0, 0]


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


def _cells_of(size: int, cells: int, device: torch.device) -> Tensor:
    """Return the pixels of each cell of an axis, ``(cells, size)``, 0 and 1."""
    edges = torch.arange(cells, device=device)
    starts, stops = edges * size // cells, -((edges + 1) * -size // cells)
    places = torch.arange(size, device=device)
    return ((places >= starts[:, None]) & (places < stops[:, None])).float()


def _centers(size: int, cells: int) -> Tensor:
    """Return the centers of the cells of an axis in pixels, ``(cells,)``."""
    return (torch.arange(cells) + 0.5) * (size / cells)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)
