"""Resizing of images, masks and maps."""

from __future__ import annotations

from math import ceil, floor
from typing import Any, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.types import Image, Map, Mask

BAND_PIXELS = 8_000_000
"""Most pixels, before and after, that are resized at once: Pillow needs several copies of them."""

_BICUBIC_REACH, _BILINEAR_REACH = 2, 1
"""Pixels beside a place, at the scale of the smaller side, that decide its value."""

_Pixels = TypeVar("_Pixels", bound=NDArray[Any])


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resize ``(H, W, 3)`` uint8 to ``size`` (height, width): bicubic and antialiased, like CLIP's preprocessing."""
    return _resized(image, size, PIL.Image.Resampling.BICUBIC, _BICUBIC_REACH)


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize ``(H, W)`` bool to ``size`` (height, width) by area.

    A new pixel is true if at least half of its area is. A region so thin that it fills half of no pixel keeps those
    that it fills at least half as much as its fullest one: a scratch stays a connected line, and no region vanishes.
    """
    if mask.shape == size:
        return mask
    covered = _covered(_covered(mask, size[0]).T, size[1]).T
    half = mask.size / 2
    resized: Mask = covered >= half
    if not np.any(covered[~resized]):
        return resized
    from scipy import ndimage  # slow to import, and most commands resize no mask

    regions, count = ndimage.label(covered > 0, np.ones((3, 3)))
    most = np.concatenate([[np.inf], ndimage.maximum(covered, regions, np.arange(1, count + 1))])
    thin: Mask = (covered >= most[regions] / 2) & (most < half)[regions]
    return resized | thin


def _covered(values: NDArray[np.bool_] | NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Sum ``(H, W)`` over ``size`` equal intervals of the rows, exactly: a full interval of ones is H."""
    rows = len(values)
    edges = np.arange(size + 1) * rows
    first, part = np.minimum(edges // size, rows - 1), edges % size
    part[-1] = size
    sums = np.cumsum(values, axis=0, dtype=np.int32 if values.dtype == np.bool_ else np.int64)
    inside: NDArray[np.int64] = values[first].astype(np.int64)
    above = (sums[first].astype(np.int64) - inside) * size + part[:, np.newaxis] * inside
    covered: NDArray[np.int64] = np.diff(above, axis=0)
    return covered


def restore_map(anomaly_map: Map, size: tuple[int, int]) -> Map:
    """Resize a map ``(h, w)`` float32 to an image's own ``size`` (height, width), bilinear.

    Values never leave the range of the input.
    """
    restored = _resized(anomaly_map, size, PIL.Image.Resampling.BILINEAR, _BILINEAR_REACH)
    return np.clip(restored, anomaly_map.min(), anomaly_map.max(), out=restored)


def _resized(values: _Pixels, size: tuple[int, int], kind: PIL.Image.Resampling, reach: int) -> _Pixels:
    """Resize an image or a map to ``size``, a band of rows after the other if it is large."""
    (height, width), (rows, columns) = size, values.shape[:2]
    if max(rows * columns, height * width) <= BAND_PIXELS:
        return np.array(PIL.Image.fromarray(values).resize((width, height), kind))  # type: ignore[return-value]
    scale = rows / height
    each = max(1, int(BAND_PIXELS / max(columns * scale, width)))
    resized = np.empty((height, width, *values.shape[2:]), values.dtype)
    for start in range(0, height, each):
        stop = min(height, start + each)
        first = max(0, floor(start * scale - reach * max(1, scale)) - 1)
        last = min(rows, ceil(stop * scale + reach * max(1, scale)) + 1)
        box = (0, start * scale - first, width, min(stop * scale, rows) - first)
        band = PIL.Image.fromarray(np.ascontiguousarray(values[first:last])).resize((width, last - first), kind)
        resized[start:stop] = band.resize((width, stop - start), kind, box=box)  # in Pillow's own order: down at last
    return resized  # type: ignore[return-value]
