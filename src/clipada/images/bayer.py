"""Colors from the raw values of a color sensor, each of whose pixels sees one color of a Bayer pattern."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipada.errors import ImageError

_COLORS = "rgb"
_ROWS = 512
"""Rows at a time, an even number: so the memory beside input and output stays small."""


def demosaic(values: NDArray[np.integer], pattern: str, name: str) -> NDArray[np.uint16]:
    """Interpolate the two colors that each pixel lacks from its neighbors (bilinear), mirrored at the image's sides.

    Args:
        values: Raw values ``(H, W)``, 0..65535.
        pattern: Colors of the first two pixels of the first row and of the second one, e.g. ``"rggb"``.
        name: The file's name, for messages.

    Returns:
        ``(H, W, 3)`` uint16, in the range of the values.

    Raises:
        ImageError: The image has fewer than two rows or columns.
    """
    height, width = values.shape
    if min(height, width) < 2:
        raise ImageError(
            f"cannot read image {name}", expected="2 x 2 pixels or more of a sensor", got=f"{width} x {height}"
        )
    padded = np.pad(values, 1, mode="reflect")
    colors = np.empty((height, width, 3), np.uint16)
    for top in range(0, height, _ROWS):
        band = padded[top : top + _ROWS + 2].astype(np.uint32)
        _fill(colors[top : top + _ROWS], band, pattern)
    return colors


def _fill(colors: NDArray[np.uint16], band: NDArray[np.uint32], pattern: str) -> None:
    """Fill the colors ``(h, W, 3)`` of a band of values ``(h + 2, W + 2)``, which starts at an even row."""
    own = band[1:-1, 1:-1]
    beside, above = band[1:-1, :-2] + band[1:-1, 2:], band[:-2, 1:-1] + band[2:, 1:-1]
    corners = band[:-2, :-2] + band[:-2, 2:] + band[2:, :-2] + band[2:, 2:]
    for place, color in enumerate(pattern):
        row, column = divmod(place, 2)
        here = slice(row, None, 2), slice(column, None, 2)
        in_row = pattern[2 * row + 1 - column]
        for channel, wanted in enumerate(_COLORS):
            if wanted == color:
                found = own[here]
            elif wanted == "g":
                found = (beside[here] + above[here] + 2) // 4
            elif color == "g":
                found = ((beside if wanted == in_row else above)[here] + 1) // 2
            else:
                found = (corners[here] + 2) // 4
            colors[..., channel][here] = found
