"""Conversion of decoded images of any mode to 8-bit RGB, and warnings about images that are read as dark."""

from __future__ import annotations

import logging
import threading

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.errors import ImageError
from clipada.images.tiff import EIGHT_BIT_REMEDY

log = logging.getLogger(__name__)

CAMERA_BITS = (10, 12, 14)
"""Bits of cameras that write their values into 16-bit files without scaling them to the file's range."""

BROKEN_PIXELS = 1000
"""One pixel of this many may exceed a camera's range, as broken pixels do, before the image counts as scaled."""

LONGEST_SIDE = 4
"""Ratio of the sides beyond which a warning says that the image is squashed to a square."""

_warned: dict[str, threading.Event] = {"dark": threading.Event(), "long": threading.Event()}


def to_rgb(image: PIL.Image.Image, name: str, *, deep: bool) -> PIL.Image.Image:
    """Convert a decoded image of any mode to RGB.

    Args:
        image: The decoded image.
        name: The file's name, for messages.
        deep: True if the file has 16 bits for each color, of which Pillow keeps the upper 8.

    Raises:
        ImageError: The pixels are floats, or gray values outside 0..65535.
    """
    _warn_if_long(name, image.width, image.height)
    if image.mode == "F":
        raise ImageError(
            f"cannot read image {name}",
            expected="integer pixels",
            got="float pixels, which have no fixed range",
            remedy=EIGHT_BIT_REMEDY,
        )
    if image.mode.startswith("I"):
        return PIL.Image.fromarray(_gray_from_16_bit(np.asarray(image), name)).convert("RGB")
    rgb = flatten(image, "white")
    if deep:
        _warn_if_dark(name, np.asarray(rgb).max(axis=2), 8)
    return rgb


def flatten(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    """Convert an 8-bit image to RGB and blend transparent pixels with ``background``."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, background), image).convert("RGB")


def _gray_from_16_bit(values: NDArray[np.integer], name: str) -> NDArray[np.uint8]:
    """Convert integer gray ``(H, W)`` of range 0..65535 to 0..255: divide by 257 and round."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(
            f"cannot read image {name}",
            expected="gray values 0..65535",
            got=f"{low}..{high}",
            remedy=EIGHT_BIT_REMEDY,
        )
    _warn_if_dark(name, values, 16)
    table = ((np.arange(0x10000, dtype=np.uint32) + 128) // 257).astype(np.uint8)
    gray: NDArray[np.uint8] = table[values]
    return gray


def _warn_if_dark(name: str, values: NDArray[np.integer], bits: int) -> None:
    """Warn, once per process, that a 16-bit image uses so little of its range that it is almost black.

    Args:
        name: The file's name.
        values: Gray values, or the highest of each pixel's colors.
        bits: Upper bits of the file's 16 that ``values`` have.
    """
    if _warned["dark"].is_set():
        return
    for camera in CAMERA_BITS:
        beyond = np.count_nonzero(values >= 1 << (camera + bits - 16))
        if beyond <= values.size // BROKEN_PIXELS:
            break
    else:
        return
    if not values.any() or _warned["dark"].is_set():
        return
    _warned["dark"].set()
    log.warning(
        "image %s is read as dark: it is 16-bit, but uses only the lowest %d bits, as from a %d-bit camera\n"
        "  remedy: scale values to 0..65535 (%d-bit ones times %d), for training and inspection alike",
        name,
        camera,
        camera,
        camera,
        1 << (16 - camera),
    )


def _warn_if_long(name: str, width: int, height: int) -> None:
    """Warn, once per process, that an image is so long that details vanish when it is resized to a square."""
    if max(width, height) > LONGEST_SIDE * min(width, height) and not _warned["long"].is_set():
        _warned["long"].set()
        log.warning(
            "image %s has %d x %d pixels: it is squashed to a square, which may hide small defects\n"
            "  remedy: cut such images into squares, for training and inspection alike",
            name,
            width,
            height,
        )
