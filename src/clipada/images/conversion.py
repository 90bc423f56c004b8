"""Conversion of decoded images of any mode to 8-bit RGB."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError
from clipada.images.bayer import demosaic
from clipada.images.decoding import EIGHT_BIT_REMEDY, DecodedImage
from clipada.images.depth import FULL_DEPTH, check_depth, to_8_bits, warn_seldom
from clipada.types import Image

_BAND_ROWS = 512
"""Rows that are copied at once."""

LONGEST_SIDE = 4
"""Ratio of the sides beyond which a warning says that the image is squashed to a square."""


def to_rgb(decoded: DecodedImage, name: str, rules: ImageRules) -> PIL.Image.Image:
    """Convert a decoded image of any mode, whose channels are chosen already, to RGB.

    Args:
        decoded: The decoded image.
        name: The file's name, for messages.
        rules: Bits of the camera's values, and whether they are colors, their luminance, or a sensor's raw values.

    Raises:
        ImageError: The pixels are floats, gray values outside 0..65535, or far beyond the depth; or they are to be raw
            values of a sensor and are not gray.
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
    if rules.pattern is not None:
        return _demosaiced(decoded, rules.pattern, name, rules.depth)
    if decoded.gray:
        values = _deep_values(decoded, name, rules.depth)
        return _in_8_bits(decoded, values, rules.depth).convert("RGB")
    if decoded.deep:
        image = _colors(decoded, name, rules.depth)
    image = flatten(image, "white")
    return image.convert("L").convert("RGB") if rules.channels == "gray" else image


def to_pixels(image: PIL.Image.Image) -> Image:
    """Return the values of an RGB image, ``(H, W, 3)`` uint8, copied in bands: Pillow copies what it hands out."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for start in range(0, image.height, _BAND_ROWS):
        stop = min(image.height, start + _BAND_ROWS)
        pixels[start:stop] = np.asarray(image.crop((0, start, image.width, stop)))
    return pixels


def flatten(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    """Convert an 8-bit image to RGB and blend transparent pixels with ``background``."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, background), image).convert("RGB")


def _demosaiced(decoded: DecodedImage, pattern: str, name: str, depth: int | None) -> PIL.Image.Image:
    """Return the colors of the raw values of a color sensor."""
    if not decoded.gray and decoded.image.mode != "L":
        raise ImageError(
            f"cannot read image {name} by the run's rules",
            expected=f"one value a pixel, of a sensor with the pattern {pattern}",
            got=f"an image of mode {decoded.image.mode}",
            remedy="send the camera's raw values, or train again with other --channels",
        )
    if not decoded.gray:
        return PIL.Image.fromarray(demosaic(np.asarray(decoded.image), pattern, name).astype(np.uint8))
    return _in_8_bits(decoded, demosaic(_deep_values(decoded, name, depth), pattern, name), depth)


def _deep_values(decoded: DecodedImage, name: str, depth: int | None) -> NDArray[np.integer]:
    """Return gray values of more than 8 bits, checked for their range."""
    values = decoded.values(name)
    if decoded.deep:
        check_depth(name, values, depth, negative=decoded.negative)
    return values


def _in_8_bits(decoded: DecodedImage, values: NDArray[np.integer], depth: int | None) -> PIL.Image.Image:
    bits = depth if depth is not None and decoded.deep else FULL_DEPTH
    return PIL.Image.fromarray(to_8_bits(values, bits, negative=decoded.negative))


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
            "image %s has %d x %d pixels: unless it is cut into tiles, it is squashed to a square, which may hide "
            "small defects\n  remedy: train with --set inspection.view=tiles",
            name,
            width,
            height,
        )
