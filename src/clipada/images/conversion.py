"""Conversion of decoded images of any mode to 8-bit RGB."""

from __future__ import annotations

import numpy as np
import PIL.Image

from clipada.errors import ImageError
from clipada.images.decoding import EIGHT_BIT_REMEDY, DecodedImage
from clipada.images.depth import FULL_DEPTH, check_depth, to_8_bits, warn_seldom

LONGEST_SIDE = 4
"""Ratio of the sides beyond which a warning says that the image is squashed to a square."""


def to_rgb(decoded: DecodedImage, name: str, depth: int | None) -> PIL.Image.Image:
    """Convert a decoded image of any mode to RGB.

    Args:
        decoded: The decoded image.
        name: The file's name, for messages.
        depth: Bits of the camera's values in 16-bit files; ``None`` for all 16.

    Raises:
        ImageError: The pixels are floats, gray values outside 0..65535, or far beyond ``depth``.
    """
    image = decoded.image
    _warn_if_long(name, image.width, image.height)
    if image.mode == "F":
        raise ImageError(
            f"cannot read image {name}",
            expected="integer pixels",
            got="float pixels, which have no fixed range",
            remedy=EIGHT_BIT_REMEDY,
        )
    if decoded.gray:
        values = decoded.values(name)
        if decoded.deep:
            check_depth(name, values, depth, negative=decoded.negative)
        bits = depth if depth is not None and decoded.deep else FULL_DEPTH
        return PIL.Image.fromarray(to_8_bits(values, bits, negative=decoded.negative)).convert("RGB")
    if decoded.deep:
        image = _colors(decoded, name, depth)
    return flatten(image, "white")


def flatten(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    """Convert an 8-bit image to RGB and blend transparent pixels with ``background``."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, background), image).convert("RGB")


def _colors(decoded: DecodedImage, name: str, depth: int | None) -> PIL.Image.Image:
    """Return 16-bit colors in 8 bits; transparency, which has 16 bits in every file, is kept."""
    if depth is None or depth == FULL_DEPTH:
        check_depth(name, np.asarray(decoded.image)[..., :3], depth, shift=8)
        return decoded.image
    values = decoded.values(name)
    check_depth(name, values, depth)
    colors = PIL.Image.fromarray(to_8_bits(values, depth))
    if decoded.image.mode == "RGBA":
        colors.putalpha(decoded.image.getchannel("A"))
    return colors


def _warn_if_long(name: str, width: int, height: int) -> None:
    """Warn that an image is so long that details vanish when it is resized to a square."""
    if max(width, height) > LONGEST_SIDE * min(width, height):
        warn_seldom(
            "long",
            "image %s has %d x %d pixels: it is squashed to a square, which may hide small defects\n"
            "  remedy: cut such images into squares, for training and inspection alike",
            name,
            width,
            height,
        )
