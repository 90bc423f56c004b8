"""From the model's raw map to the anomaly map, the image score and the regions. Numpy, shared by every engine."""

from __future__ import annotations

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
"""The input side, in pixels, that ``ScoringConfig`` is stated at."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def smooth(raw: Map, sigma: float) -> Map:
    """Convolve a map with a Gaussian.

    The kernel ends at ``4 sigma`` (rounded to a pixel) and sums to one. Beyond its edges the map goes on mirrored,
    the edge pixel repeated (``d c b a | a b c d``), so a constant map stays as it is and no weight leaks out.

    Args:
        raw: ``(H, W)``, any size.
        sigma: Standard deviation in pixels of this map; 0 leaves it as it is.

    Returns:
        ``(H, W)`` float32, within the range of ``raw`` up to rounding. Nothing is clamped.
    """
    values = _checked(raw).astype(np.float32)
    if sigma == 0:
        return values
    height, width = values.shape
    return (_smoothing(height, sigma) @ values @ _smoothing(width, sigma).T).astype(np.float32, copy=False)


def anomaly_map(raw: Map, config: ScoringConfig) -> Map:
    """The model's map, smoothed (section 4.4.2 of the paper).

    ``sigma`` scales with the side of the map, ``sqrt(H W) / 256`` (a square's own side), so that a larger input
    is smoothed over the same share of the part.

    Args:
        raw: ``(H, W)``, 0..1, at the model's input size.
        config: The smoothing at a side of 256.

    Returns:
        ``(H, W)`` float32, 0..1.
    """
    return smooth(raw, config.sigma * sqrt(_checked(raw).size) / REFERENCE_SIDE)


def with_fused(raw: NDArray[np.float32], config: ScoringConfig) -> NDArray[np.float32]:
    """Every pass's raw map and, last, the one that counts.

    Args:
        raw: ``(P, H, W)``, 0..1, coarse pass first.
        config: Whether the last pass counts or the mean of all.

    Returns:
        ``raw`` itself where its last map counts, else ``(P + 1, H, W)``.
    """
    if config.fusion == "last" or len(raw) == 1:
        return raw
    return np.concatenate([raw, raw.mean(axis=0, keepdims=True)])


def top_pixel_count(pixels: int, config: ScoringConfig) -> int:
    """How many of a map's ``pixels`` make its image score: ``top_pixels * pixels / 256**2``, at least 1."""
    return min(pixels, max(1, round(config.top_pixels * pixels / REFERENCE_SIDE**2)))


def image_score(scored: Map, config: ScoringConfig) -> float:
    """The mean of a map's highest pixels (section 4.4.2 of the paper).

    Args:
        scored: ``(H, W)``, 0..1: the anomaly map at the model's input size.
        config: The number of pixels at a side of 256.

    Returns:
        0..1.
    """
    pixels = _checked(scored).ravel()
    first = pixels.size - top_pixel_count(pixels.size, config)
    return float(np.partition(pixels, first)[first:].mean(dtype=np.float64))


def score_passes(raw: NDArray[np.float32], config: ScoringConfig) -> tuple[tuple[Map, ...], tuple[float, ...]]:
    """Smooth and score every pass.

    Args:
        raw: ``(P, H, W)``, 0..1, coarse pass first: one image's maps at the model's input size.
        config: All of scoring.

    Returns:
        maps: Anomaly maps ``(H, W)`` of each pass and, where the mean counts, of it. The last one counts.
        scores: Their image scores, 0..1.
    """
    maps = tuple(anomaly_map(one, config) for one in with_fused(raw, config))
    return maps, tuple(image_score(one, config) for one in maps)


def final_map(raw: NDArray[np.float32], config: ScoringConfig) -> Map:
    """The one anomaly map that counts, ``(H, W)``, of an image's raw maps ``(P, H, W)``."""
    return anomaly_map(with_fused(raw, config)[-1], config)


def find_regions(scored: Map, threshold: float, min_area: int = 1) -> tuple[Region, ...]:
    """The 8-connected areas of a map above a threshold.

    Args:
        scored: ``(H, W)``, 0..1, in any geometry; boxes and areas are in its pixels.
        threshold: A pixel belongs to a region when its value is greater.
        min_area: Regions of fewer pixels are left out.

    Returns:
        Highest peak first; equal peaks from top to bottom, then left to right. Of equal pixels inside a region
        the first in reading order is the peak.
    """
    above = _checked(scored) > threshold
    if not above.any():  # nearly all parts of a production line; labeling nothing takes a millisecond
        return ()
    labels = scipy.ndimage.label(above, _EIGHT_CONNECTED)[0]
    boxes = scipy.ndimage.find_objects(labels)
    regions = (_region(scored[box], labels[box] == label, box) for label, box in enumerate(boxes, start=1))
    kept = (region for region in regions if region.area >= min_area)
    return tuple(sorted(kept, key=lambda region: (-region.peak, region.box[1], region.box[0])))


def map_statistics(scored: Map, threshold: float) -> dict[str, float]:
    """Summarize a map ``(H, W)`` in four numbers, each 0..1, ready for JSON.

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


@lru_cache(maxsize=16)
def _smoothing(length: int, sigma: float) -> Map:
    """The convolution of one axis as a matrix ``(length, length)``: a product is several times faster."""
    along_one: NDArray[np.float64] = scipy.ndimage.gaussian_filter(
        np.eye(length), (sigma, 0), mode="reflect", truncate=4.0
    )
    return along_one.astype(np.float32)


def _region(values: Map, inside: Mask, box: tuple[slice, ...]) -> Region:
    """Describe the region of the pixels ``inside`` a crop whose place in the map is ``box``."""
    rows, columns = box
    row, column = np.unravel_index(np.where(inside, values, -np.inf).argmax(), values.shape)
    return Region(
        box=(columns.start, rows.start, columns.stop, rows.stop),
        area=int(inside.sum()),
        peak=float(values[row, column]),
        peak_position=(columns.start + int(column), rows.start + int(row)),
    )


def _checked(values: NDArray[Any]) -> Map:
    """The map, if it is one picture with at least one pixel."""
    if values.ndim != 2 or not values.size:
        raise ClipAdaError("cannot score the map", expected="shape (H, W), not empty", got=f"shape {values.shape}")
    return values
