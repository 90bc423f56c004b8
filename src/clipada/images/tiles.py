"""Tiles of an image: their places, their pixels, and the way of their maps back into one map of the whole image.

All tiles of an image have the same size and cover it exactly, evenly spaced. The joined map is an affine copy of the
image: its size is a whole number of pixels for each tile, so that a tile's map is added without resampling. Each pixel
of it is a weighted mean of the tiles that show it, and the weights sum to one: a coordinate ramp comes back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, gcd

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.types import Image, Mask

MOST_MAP_PIXELS = 12_000_000
"""Most pixels of a joined map; that of a larger image has fewer pixels for each tile."""

SLACK = 1.1
"""Length of a side of the image, in tiles, up to which a single tile is squeezed to cover it."""

_LEAST_PER_TILE = 16
"""Fewest pixels of the joined map along a side of a tile."""

_BICUBIC_REACH = 2
"""Pixels beside a place, at the scale of the result, that a bicubic resize reads."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """The tiles of one image, and its joined map of ``H x W`` pixels.

    Attributes:
        image: Height and width of the image, in pixels.
        joined: ``(H, W)``.
        tile: Height and width of a tile, in pixels of the joined map.
        shrink: Pixels of the model's input along a side of one pixel of the joined map.
        rows: First row of the joined map in each row of tiles.
        columns: First column of it in each column of tiles.
    """

    image: tuple[int, int]
    joined: tuple[int, int]
    tile: tuple[int, int]
    shrink: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def window(self, number: int) -> tuple[slice, slice]:
        """Return the rows and columns of the joined map that a tile covers."""
        row, column = divmod(number, len(self.columns))
        top, left = self.rows[row], self.columns[column]
        return slice(top, top + self.tile[0]), slice(left, left + self.tile[1])

    def box(self, number: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of a tile in pixels of the image."""
        rows, columns = self.window(number)
        down, across = (side / joined for side, joined in zip(self.image, self.joined, strict=True))
        return columns.start * across, rows.start * down, columns.stop * across, rows.stop * down

    def cut(self, image: Image, number: int) -> Image:
        """Return a tile of the image ``(height, width, 3)`` uint8, resized to the model's input, bicubic."""
        left, top, right, bottom = self.box(number)
        height, width = (side * self.shrink for side in self.tile)
        across, down = (right - left) / width, (bottom - top) / height
        reach = ceil(_BICUBIC_REACH * max(across, down, 1))
        first_row, first_column = max(0, floor(top) - reach), max(0, floor(left) - reach)
        part = image[first_row : ceil(bottom) + reach, first_column : ceil(right) + reach]
        limits = (right - first_column, bottom - first_row)
        box = (left - first_column, top - first_row, min(limits[0], part.shape[1]), min(limits[1], part.shape[0]))
        picture = PIL.Image.fromarray(np.ascontiguousarray(part))
        return np.array(picture.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box))

    def shown(self, inside: Mask | None) -> list[int]:
        """Return the numbers of the tiles that show any of a region of interest of the size of the joined map."""
        return [number for number in range(len(self)) if inside is None or inside[self.window(number)].any()]

    def cut_region(self, inside: Mask, number: int) -> Mask:
        """Return what a tile shows of a region of interest of the size of the joined map, at the model's input size."""
        part = inside[self.window(number)]
        return part.repeat(self.shrink, axis=0).repeat(self.shrink, axis=1)

    def weights(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights of a tile along rows ``(h,)`` and columns ``(w,)``; their product is that of a pixel."""
        row, column = divmod(number, len(self.columns))
        return self._fades[0][row], self._fades[1][column]

    @cached_property
    def _fades(self) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        rows, columns = (
            list(_fades(starts, side, total))
            for starts, side, total in zip((self.rows, self.columns), self.tile, self.joined, strict=True)
        )
        return rows, columns


class JoinedMap:
    """The map of a whole image, to which the maps of its tiles are added one by one.

    Args:
        tiles: The tiles.
        passes: Number of maps of each tile.
    """

    def __init__(self, tiles: Tiles, passes: int) -> None:
        self.tiles = tiles
        self.maps = np.zeros((passes, *tiles.joined), np.float32)

    def add(self, number: int, maps: NDArray[np.float32]) -> None:
        """Add the maps ``(passes, h, w)`` of a tile, at the model's input size."""
        rows, columns = self.tiles.weights(number)
        small = shrunk(maps, self.tiles.shrink)
        self.maps[:, *self.tiles.window(number)] += small * rows[:, np.newaxis] * columns


def plan_tiles(
    image: tuple[int, int], size: tuple[int, int], side: int, overlap: float, most: int = MOST_MAP_PIXELS
) -> Tiles:
    """Cut an image into tiles.

    An image whose shorter side is less than that of a tile has tiles of that side.

    Args:
        image: Height and width of the image, in pixels.
        size: Height and width of the model's input, in pixels.
        side: Longer side of a tile, in pixels of the image.
        overlap: Least share of a tile that its neighbor shows too, 0 to 0.5.
        most: Most pixels of the joined map.
    """
    wanted = [side * one / max(size) for one in size]
    fitting = min(1.0, *(length / one for length, one in zip(image, wanted, strict=True)))
    spans = [one * fitting for one in wanted]

    def planned(shrink: int) -> Tiles:
        tile = size[0] // shrink, size[1] // shrink
        joined = [_joined_length(*one) for one in zip(image, spans, tile, strict=True)]
        rows, columns = (_starts(*one, overlap) for one in zip(joined, tile, strict=True))
        return Tiles(image=image, joined=(joined[0], joined[1]), tile=tile, shrink=shrink, rows=rows, columns=columns)

    possible = [planned(shrink) for shrink in _shrinks(size)]
    return next((one for one in possible if one.joined[0] * one.joined[1] <= most), possible[-1])


def shrunk(maps: NDArray[np.float32], shrink: int) -> NDArray[np.float32]:
    """Average maps ``(passes, H, W)`` over squares of ``shrink`` pixels."""
    if shrink == 1:
        return maps
    passes, height, width = maps.shape
    squares = maps.reshape(passes, height // shrink, shrink, width // shrink, shrink)
    averaged: NDArray[np.float32] = squares.mean(axis=(2, 4), dtype=np.float32)
    return averaged


def _shrinks(size: tuple[int, int]) -> list[int]:
    """Return the numbers of input pixels that can make one pixel of a joined map, ascending."""
    common = gcd(*size)
    return [one for one in range(1, common + 1) if common % one == 0 and min(size) // one >= _LEAST_PER_TILE] or [1]


def _joined_length(length: int, span: float, tile: int) -> int:
    """Return the length of an axis of the joined map, of which ``tile`` pixels are ``span`` pixels of the image."""
    return tile if length <= SLACK * span else max(tile, round(length * tile / span))


def _starts(length: int, tile: int, overlap: float) -> tuple[int, ...]:
    """Return the first pixel of each tile along an axis: as few as have the overlap, evenly spaced."""
    rest = length - tile
    steps = ceil(rest / max(1, floor(tile * (1 - overlap))))
    return (0, *(round(step * rest / steps) for step in range(1, steps + 1)))


def _fades(starts: tuple[int, ...], side: int, length: int) -> Iterator[NDArray[np.float32]]:
    """Yield the weight of each tile along an axis, ``(side,)``: it falls to 0 at inner sides, and all sum to one."""
    inside = np.arange(side) + 0.5
    raw = []
    for start in starts:
        left = inside if start else np.full(side, np.inf)
        right = side - inside if start + side < length else np.full(side, np.inf)
        raw.append(np.minimum(np.minimum(left, right), side))
    total = np.zeros(length)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + side] += weight
    for start, weight in zip(starts, raw, strict=True):
        yield (weight / total[start : start + side]).astype(np.float32)
