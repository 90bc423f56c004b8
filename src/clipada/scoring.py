"""Anomaly map, image score and regions of a raw map. NumPy only, shared by every engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from clipada.config import ScoringConfig
from clipada.errors import ClipAdaError
from clipada.types import Map, Mask, Region

REFERENCE_SIDE = 256
"""Input side, in pixels, to which the values of ``ScoringConfig`` refer."""

_TRUNCATE = 4.0
"""Standard deviations at which the Gaussian is cut."""

_LONGEST_PRODUCT = 1024
"""Longest side of a map, in pixels, that is smoothed as a matrix product, which is faster for short ones."""

_Box = tuple[slice, slice]

_MOST_LABELED, _SQUARE = 4_000_000, 16
"""Most pixels of a map whose areas are labeled at once, and the side of the squares that a larger one has first."""
_LEAST_WEIGHT = np.float32(1e-6)
"""Least weight of a pixel's surroundings, so that far outside of a region of interest nothing is divided by 0."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def smooth(raw: Map, sigma: float) -> Map:
    """Convolve a map with a Gaussian.

    The kernel is cut at ``4 sigma`` (rounded to a pixel) and sums to one. The map is continued by reflection, with the
    edge pixel repeated (``d c b a | a b c d``), so that a constant map stays constant.

    Args:
        raw: ``(H, W)``, any size.
        sigma: Standard deviation in pixels of this map; 0 changes nothing.

    Returns:
        ``(H, W)`` float32, within the range of ``raw`` up to rounding. Nothing is clamped.
    """
    values = _checked(raw).astype(np.float32)
    if sigma == 0:
        return values
    height, width = values.shape
    if max(values.shape) > _LONGEST_PRODUCT:
        return scipy.ndimage.gaussian_filter(values, sigma, mode="reflect", truncate=_TRUNCATE)
    return (_smoothing(height, sigma) @ values @ _smoothing(width, sigma).T).astype(np.float32, copy=False)


def anomaly_map(
    raw: Map, config: ScoringConfig, view: tuple[int, int] | None = None, inside: Mask | None = None
) -> Map:
    """Smooth the model's raw map (section 4.4.2 of the paper).

    With a region of interest the Gaussian is a weighted mean of the pixels inside alone: what is outside counts
    nowhere, and a defect at the border as much as elsewhere. Outside, the map is 0.

    ``sigma`` is multiplied by ``sqrt(h w) / 256`` (for a square view, its side over 256), so that a larger input is
    smoothed over the same share of the part.

    Args:
        raw: ``(H, W)``, 0..1, at the model's input size, or joined of tiles.
        config: Smoothing for a side of 256.
        view: ``(h, w)`` that the model sees at once, in pixels of the map; ``None`` for all of it.
        inside: Region of interest, ``(H, W)``; ``None`` if all of the map counts.

    Returns:
        ``(H, W)`` float32, 0..1.
    """
    height, width = _checked(raw).shape if view is None else view
    sigma = config.sigma * sqrt(height * width) / REFERENCE_SIDE
    if inside is None:
        return smooth(raw, sigma)
    weights = smooth(inside.astype(np.float32), sigma)
    smoothed = smooth(np.where(inside, raw, np.float32(0)), sigma) / np.maximum(weights, _LEAST_WEIGHT)
    return np.where(inside, smoothed.clip(0, 1), np.float32(0)).astype(np.float32, copy=False)


def append_fused_map(raw: NDArray[np.float32], config: ScoringConfig) -> NDArray[np.float32]:
    """Return the raw maps of all passes with the final one last.

    Args:
        raw: ``(P, H, W)``, 0..1, coarse pass first.
        config: The fusion: the last pass, or the mean of all.

    Returns:
        ``raw`` itself if its last map is the final one, else ``(P + 1, H, W)``.
    """
    if config.fusion == "last" or len(raw) == 1:
        return raw
    return np.concatenate([raw, raw.mean(axis=0, keepdims=True)])


def top_pixel_count(pixels: int, config: ScoringConfig) -> int:
    """Return the number of a view's ``pixels`` in its image score: ``top_pixels * pixels / 256**2``, at least 1."""
    return min(pixels, max(1, round(config.top_pixels * pixels / REFERENCE_SIDE**2)))


def image_score(scored: Map, config: ScoringConfig, view: tuple[int, int] | None = None) -> float:
    """Return the mean of a map's highest pixels (section 4.4.2 of the paper).

    Args:
        scored: ``(H, W)``, 0..1: the anomaly map at the model's input size, or joined of tiles.
        config: Number of pixels for a side of 256.
        view: ``(h, w)`` that the model sees at once, in pixels of the map, which counts however large the map is;
            ``None`` for all of it.

    Returns:
        0..1.
    """
    pixels = _checked(scored).ravel()
    first = pixels.size - top_pixel_count(pixels.size if view is None else view[0] * view[1], config)
    return float(np.partition(pixels, first)[first:].mean(dtype=np.float64))


def score_passes(
    raw: NDArray[np.float32],
    config: ScoringConfig,
    own: float | None = None,
    view: tuple[int, int] | None = None,
    inside: Mask | None = None,
) -> tuple[tuple[Map, ...], tuple[float, ...]]:
    """Smooth and score every pass.

    Args:
        raw: ``(P, H, W)``, 0..1, coarse pass first: one image's maps at the model's input size.
        config: All settings of scoring.
        own: The image score of an engine that computes its own, which then is that of every pass.
        view: As for ``anomaly_map``.
        inside: As for ``anomaly_map``.

    Returns:
        maps: Anomaly maps ``(H, W)`` of each pass and, if they are fused, of their mean. The last is the final map.
        scores: Their image scores, 0..1.
    """
    maps = tuple(anomaly_map(one, config, view, inside) for one in append_fused_map(raw, config))
    return maps, tuple(image_score(one, config, view) if own is None else own for one in maps)


def final_map(
    raw: NDArray[np.float32],
    config: ScoringConfig,
    view: tuple[int, int] | None = None,
    inside: Mask | None = None,
) -> Map:
    """Return the final anomaly map ``(H, W)`` of an image's raw maps ``(P, H, W)``, as ``anomaly_map`` does."""
    return anomaly_map(append_fused_map(raw, config)[-1], config, view, inside)


def find_regions(scored: Map, threshold: float, min_area: int = 1) -> tuple[Region, ...]:
    """Find the 8-connected areas of a map above a threshold.

    Args:
        scored: ``(H, W)``, 0..1, of any size; boxes and areas are in its pixels.
        threshold: A pixel belongs to a region if its value is greater.
        min_area: Regions of fewer pixels are left out.

    Returns:
        Highest peak first; equal peaks from top to bottom, then left to right. Of equal highest pixels in a region the
        first in reading order is the peak.
    """
    above = _checked(scored) > threshold
    if not above.any():  # true of nearly all parts of a production line; labeling an empty map takes a millisecond
        return ()
    regions = (_region(scored[box], inside, box) for box, inside in _areas(above))
    kept = (region for region in regions if region.area >= min_area)
    return tuple(sorted(kept, key=lambda region: (-region.peak, region.box[1], region.box[0])))


def map_statistics(scored: Map, threshold: float) -> dict[str, float]:
    """Summarize a map ``(H, W)`` by four numbers, each 0..1, ready for JSON.

    Returns:
        ``min``, ``mean`` and ``max`` of the values, and ``share_above``: the share of pixels above the threshold.
    """
    values = _checked(scored)
    return {
        "min": float(values.min()),
        "mean": float(values.mean(dtype=np.float64)),
        "max": float(values.max()),
        "share_above": float((values > threshold).mean()),
    }


def _areas(above: Mask) -> Iterator[tuple[_Box, Mask]]:
    """Yield the box of each 8-connected area, and the area in it.

    In a large map, squares with a pixel above are labeled first, and their pixels then: labels of all pixels would take
    four times as many bytes as the map.
    """
    if above.size <= _MOST_LABELED:
        yield from _labeled(above)
        return
    height, width = above.shape
    rows, columns = np.arange(0, height, _SQUARE), np.arange(0, width, _SQUARE)
    squares = np.logical_or.reduceat(np.logical_or.reduceat(above, rows, axis=0), columns, axis=1)
    for (down, across), coarse in _labeled(squares):
        top, left = down.start * _SQUARE, across.start * _SQUARE
        part = above[top : down.stop * _SQUARE, left : across.stop * _SQUARE]
        fine = np.repeat(np.repeat(coarse, _SQUARE, axis=0), _SQUARE, axis=1)[: part.shape[0], : part.shape[1]]
        for (own_rows, own_columns), inside in _labeled(part & fine):
            box = (
                slice(top + own_rows.start, top + own_rows.stop),
                slice(left + own_columns.start, left + own_columns.stop),
            )
            yield box, inside


def _labeled(above: Mask) -> Iterator[tuple[_Box, Mask]]:
    """Yield the box of each 8-connected area of a small map, and the area in it."""
    labels = scipy.ndimage.label(above, _EIGHT_CONNECTED)[0]
    for label, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1):
        yield (rows, columns), labels[rows, columns] == label


@lru_cache(maxsize=16)
def _smoothing(length: int, sigma: float) -> Map:
    """Return the convolution of one axis as a matrix ``(length, length)``: a matrix product is several times faster."""
    along_one: NDArray[np.float64] = scipy.ndimage.gaussian_filter(
        np.eye(length), (sigma, 0), mode="reflect", truncate=_TRUNCATE
    )
    return along_one.astype(np.float32)


def _region(values: Map, inside: Mask, box: _Box) -> Region:
    """Describe the region of the pixels ``inside`` in a crop of the map at ``box``."""
    rows, columns = box
    row, column = np.unravel_index(np.where(inside, values, -np.inf).argmax(), values.shape)
    return Region(
        box=(columns.start, rows.start, columns.stop, rows.stop),
        area=int(inside.sum()),
        peak=float(values[row, column]),
        peak_position=(columns.start + int(column), rows.start + int(row)),
    )


def _checked(values: NDArray[Any]) -> Map:
    """Return the map if it is two-dimensional and not empty, else raise."""
    if values.ndim != 2 or not values.size:
        raise ClipAdaError("cannot score the map", expected="shape (H, W), not empty", got=f"shape {values.shape}")
    return values
