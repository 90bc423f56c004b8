"""Anomaly maps as PNG, for programs and for pages."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.images import restore_map
from clipada.inspection.overlays import heat_layer, map_to_16bit, picture_size, relative_heat
from clipada.server.schemas import MapKind
from clipada.types import Verdict

LONGEST_SIDE = 1024
"""Heat is drawn no larger, in pixels: it is as smooth as that, and stretches over the image."""


def map_png(verdict: Verdict, kind: MapKind) -> bytes:
    """A verdict's map.

    Args:
        verdict: The verdict.
        kind: ``heat``: colours on the scale that has the threshold in its middle, with transparency, to be laid over
            the image. ``values``: 16-bit grey, ``round(65535 map)``, in the image's own geometry. ``channels``: these
            values as ``256 red + green``, for browsers, which read 8 bits of a channel.
    """
    if kind == "values":
        return png(map_to_16bit(verdict.anomaly_map))
    if kind == "channels":
        values = map_to_16bit(verdict.anomaly_map)
        return png(np.stack([values >> 8, values & 255, np.zeros_like(values)], axis=-1).astype(np.uint8))
    small = restore_map(verdict.anomaly_map, picture_size(verdict.anomaly_map.shape, (1, LONGEST_SIDE)))
    return png(heat_layer(relative_heat(small, verdict.threshold)))


def png(array: NDArray[Any]) -> bytes:
    """An array as a PNG file; quickly rather than small."""
    file = BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(file, format="PNG", compress_level=1)
    return file.getvalue()
