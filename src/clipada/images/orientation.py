"""EXIF orientation: the turn that a camera states for its pixels, and masks that were drawn without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from clipada.types import Mask

UPRIGHT = 1
"""Orientation of pixels that are stored as they are shown."""

_TAG = 0x112
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
_SWAPS = {
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


SIDEWAYS = frozenset(_SWAPS)
"""Orientations of pixels that are stored with width and height exchanged."""


def read_orientation(path: Path) -> int:
    """Return the EXIF orientation that an image file states, 1 to 8; 1 without one, or if it cannot be read."""
    try:
        with PIL.Image.open(path, formats=_FORMATS) as image:
            found = image.getexif().get(_TAG, UPRIGHT)
    except Exception:  # Pillow raises whatever its decoders raise; reading the image itself reports the error
        return UPRIGHT
    return found if isinstance(found, int) and 1 <= found <= 8 else UPRIGHT


def turn_on_side(mask: Mask, orientation: int) -> Mask | None:
    """Turn a mask ``(H, W)`` as an image of this orientation is turned; ``None`` if that keeps width and height."""
    if orientation not in _SWAPS:
        return None
    return np.asarray(PIL.Image.fromarray(mask).transpose(_SWAPS[orientation]))
