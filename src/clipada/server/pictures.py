"""Anomaly maps as PNG, for programs and for pages."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.images import resize_mask, restore_map
from clipada.inspection.overlays import heat_layer, map_to_16bit, picture_size, relative_heat
from clipada.server.schemas import MapKind
from clipada.types import Verdict

LONGEST_SIDE = 1024
"""Largest side of a heat picture, in pixels. Maps are smooth, so a browser can enlarge it to the image's size."""


def map_png(verdict: Verdict, kind: MapKind) -> bytes:
    """Return a verdict's map as a PNG file.

    Args:
        verdict: The verdict.
        kind: ``heat``: colors on the scale with the threshold in its middle, with transparency, to overlay on the
            image. ``values``: 16-bit gray, ``round(65535 map)``, in the image's own geometry. ``channels``: these
            values as ``256 red + green``, for browsers, which read 8 bits per channel; blue is 255 for pixels that do
            not count, as they are outside of a region of interest or of the reference's frame, else 0.
    """
    if kind == "values":
        return png(map_to_16bit(verdict.anomaly_map))
    if kind == "channels":
        values = map_to_16bit(verdict.anomaly_map)
        outside = np.zeros_like(values) if verdict.inside is None else 255 * ~verdict.inside
        return png(np.stack([values >> 8, values & 255, outside], axis=-1).astype(np.uint8))
    small = restore_map(verdict.anomaly_map, picture_size(verdict.anomaly_map.shape, (1, LONGEST_SIDE)))
    inside = None if verdict.inside is None else resize_mask(verdict.inside, small.shape)
    return png(heat_layer(relative_heat(small, verdict.threshold), inside))


def png(array: NDArray[Any]) -> bytes:
    """Encode an array as PNG, fast rather than small."""
    file = BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(file, format="PNG", compress_level=1)
    return file.getvalue()
