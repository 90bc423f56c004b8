"""Decoded images, and 16-bit colors, of which Pillow keeps the upper 8 bits: a second decoding gives the lower ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps
from numpy.typing import NDArray

from clipada.errors import ImageError

_COLORS = ("RGB", "RGBA")
_SWAPPED = {
    ";16B": ";16L",
    ";16L": ";16B",
    ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}
"""Order of bytes in which Pillow takes the lower bytes of 16-bit samples for the upper ones."""

_GRAY_ALPHA = "LA;16B"
EIGHT_BIT_REMEDY = "save it as 8-bit, or as 16-bit gray that uses the full range"


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image, upright.

    Attributes:
        image: The pixels; of 16-bit colors, the upper 8 bits.
        low: The lower 8 bits of 16-bit colors, if they were asked for.
        deep: True for 16-bit samples, whose values may fill their range or not.
        negative: True if zero is white.
        stated: Depth of the camera that the file states, in bits, if it does.
    """

    image: PIL.Image.Image
    low: PIL.Image.Image | None = None
    deep: bool = False
    negative: bool = False
    stated: int | None = None

    @property
    def gray(self) -> bool:
        """True for one sample of more than 8 bits, which Pillow keeps whole."""
        return self.image.mode.startswith("I")

    def values(self, name: str) -> NDArray[np.integer]:
        """Return gray ``(H, W)``, or 16-bit colors ``(H, W, 3)`` without transparency.

        Raises:
            ImageError: The lower bits of colors are not known, or gray values are outside 0..65535.
        """
        if self.gray:
            return _checked_gray(np.asarray(self.image), name)
        if self.low is None:
            raise ImageError(
                f"cannot read image {name}",
                expected="8-bit colors, or 16-bit ones without premultiplied transparency",
                got="16-bit colors of which only the upper 8 bits can be decoded",
                remedy=EIGHT_BIT_REMEDY,
            )
        values = np.asarray(self.image)[..., :3].astype(np.uint16)
        values <<= 8
        values |= np.asarray(self.low)[..., :3]
        return values


def has_16_bits(image: PIL.ImageFile.ImageFile) -> bool:
    """Return True for an opened image of 16-bit samples, or of one integer sample of more."""
    return image.mode.startswith("I") or (
        image.mode in _COLORS and any(";16" in _raw_mode(tile) for tile in image.tile)
    )


def load(image: PIL.ImageFile.ImageFile, again: Callable[[], PIL.ImageFile.ImageFile] | None) -> DecodedImage:
    """Decode an opened image and turn it upright.

    Args:
        image: The image, not decoded yet.
        again: Opens the same image once more, to decode the lower 8 bits of 16-bit colors; ``None`` leaves them out.
    """
    deep = has_16_bits(image)
    raw = _raw_mode(image.tile[0]) if image.tile else ""
    _load_upright(image)
    wanted = deep and again is not None and not image.mode.startswith("I")
    return DecodedImage(image=image, low=_lower(again(), raw) if wanted and again else None, deep=deep)


def _lower(image: PIL.ImageFile.ImageFile, raw: str) -> PIL.Image.Image | None:
    """Decode the lower 8 bits of 16-bit colors; ``None`` if they cannot be told from the upper ones."""
    if "a;16" in raw:  # premultiplied: Pillow divides by the transparency
        return None
    if raw == _GRAY_ALPHA:  # four bytes: upper and lower one of gray, upper and lower one of transparency
        other = "RGBA"
    else:
        order = next(order for order in _SWAPPED if order in raw)
        other = raw.replace(order, _SWAPPED[order])
    image.tile = [tile._replace(args=_with_raw_mode(tile.args, other)) for tile in image.tile]
    _load_upright(image)
    return PIL.Image.merge("RGB", [image.getchannel(1)] * 3) if raw == _GRAY_ALPHA else image


def _load_upright(image: PIL.Image.Image) -> None:
    image.load()
    PIL.ImageOps.exif_transpose(image, in_place=True)


def _raw_mode(tile: object) -> str:
    """Return the name by which Pillow calls the layout of the bytes in the file."""
    args = getattr(tile, "args", "")
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _with_raw_mode(args: Any, raw: str) -> tuple[Any, ...] | str:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw


def _checked_gray(values: NDArray[np.integer], name: str) -> NDArray[np.integer]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(
            f"cannot read image {name}",
            expected="gray values 0..65535",
            got=f"{low}..{high}",
            remedy=EIGHT_BIT_REMEDY,
        )
    return values
