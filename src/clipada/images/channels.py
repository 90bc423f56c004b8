"""Choice of a decoded image's channels by number."""

from __future__ import annotations

from dataclasses import replace

import PIL.Image

from clipada.errors import ImageError
from clipada.images.decoding import DecodedImage

_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
"""Modes whose channels are those of the file; of others, such as palettes, the colors count."""


def pick(decoded: DecodedImage, numbers: tuple[int, ...], name: str) -> DecodedImage:
    """Return an image with one of its channels in all three colors, or with three of them as red, green and blue.

    Args:
        decoded: The decoded image.
        numbers: One or three channels, counted from 1.
        name: The file's name, for messages.

    Raises:
        ImageError: The image lacks a channel.
    """
    image = decoded.image
    if image.mode not in _PLAIN_MODES and not decoded.gray and image.mode != "F":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    bands = len(image.getbands()) if decoded.low is None else len(decoded.low.getbands())
    require_channels(numbers, bands, name)
    if bands == 1:
        return replace(decoded, image=image)
    low = None if decoded.low is None else _merged(decoded.low, numbers)
    return replace(decoded, image=_merged(image, numbers), low=low)


def require_channels(numbers: tuple[int, ...], count: int, name: str) -> None:
    """Raise ``ImageError`` unless an image of ``count`` channels has those of some numbers."""
    if max(numbers) > count:
        raise ImageError(
            f"cannot read image {name} by the run's rules",
            expected=f"channel {max(numbers)} (model.image_channels {','.join(map(str, numbers))})",
            got=f"an image of {count} channel{'s' * (count > 1)}",
            remedy="send images of the camera that was trained on, or train again with other --channels",
        )


def _merged(image: PIL.Image.Image, numbers: tuple[int, ...]) -> PIL.Image.Image:
    chosen = numbers if len(numbers) == 3 else numbers * 3
    return PIL.Image.merge("RGB", [image.getchannel(number - 1) for number in chosen])
