"""Writing of PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.errors import ImageError
from clipada.files import atomic_write

COMPRESSION = 1
"""Level of zlib compression of PNG files, 1..9. Higher levels take three times as long for files a tenth smaller."""


def write_png(path: Path, array: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write ``(H, W, 3)`` or ``(H, W)`` uint8, or ``(H, W)`` uint16 (a 16-bit PNG), atomically.

    Raises:
        ImageError: The array has another shape or type.
    """
    color = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (color or gray) or array.size == 0:
        raise ImageError(
            f"cannot write image {path}",
            expected="uint8 of shape (H, W, 3) or (H, W), or uint16 of shape (H, W)",
            got=f"{array.dtype} of shape {array.shape}",
        )
    with atomic_write(path) as aside:
        PIL.Image.fromarray(array).save(aside, format="PNG", compress_level=COMPRESSION)
