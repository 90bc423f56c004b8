"""Bit depth of a camera that writes its values into 16-bit files: measured on training images, applied to all images.

A camera of 12 bits, say, stores 0..4095 in a file that states 16 bits, so its images are almost black if the file is
taken at its word. No single image shows its depth reliably (a part may be dark), but the images of a training together
do. The depth is recorded in the run and applied to every later image.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.errors import ImageError

log = logging.getLogger(__name__)

FULL_DEPTH = 16
"""Bits of the files to which a depth applies."""

FULL_VALUE = 2**FULL_DEPTH - 1

CAMERA_DEPTHS = (8, 10, 12, 14)
"""Bits of cameras that write their values into 16-bit files without scaling them to the file's range."""

BROKEN_PIXELS = 1000
"""One pixel of this many may exceed a depth, as a sensor's broken pixels do."""

MOST_CUT = 0.25
"""Share of pixels beyond the recorded depth above which an image is refused."""

_DARK_BITS = 2
"""Upper bits of the depth that an image has to use, or a warning says that it is dark."""

_SAME_CAMERA = "set up the camera as for the training, or train again with its present images"

_counts: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))


@dataclass(frozen=True, kw_only=True)
class DepthUsage:
    """Use of their range by 16-bit images.

    Attributes:
        pixels: Number of pixels.
        lit: Number of pixels that are not zero.
        beyond: Number of pixels that exceed each of ``CAMERA_DEPTHS``.
        stated: Depth that the files state, if one does.
    """

    pixels: int
    lit: int
    beyond: tuple[int, ...]
    stated: int | None = None

    @classmethod
    def of(cls, values: NDArray[np.integer], stated: int | None) -> DepthUsage:
        """Count the pixels of one image: gray ``(H, W)`` or color ``(H, W, C)``, 0..65535."""
        peaks = _peaks(values)
        return cls(
            pixels=peaks.size,
            lit=int(np.count_nonzero(peaks)),
            beyond=tuple(_beyond(peaks, depth) for depth in CAMERA_DEPTHS),
            stated=stated,
        )

    def __add__(self, other: DepthUsage) -> DepthUsage:
        """Pool the pixels of two sets of images."""
        stated = [depth for depth in (self.stated, other.stated) if depth is not None]
        return DepthUsage(
            pixels=self.pixels + other.pixels,
            lit=self.lit + other.lit,
            beyond=tuple(map(sum, zip(self.beyond, other.beyond, strict=True))),
            stated=max(stated) if stated else None,
        )

    @property
    def depth(self) -> int:
        """The depth that the files state, else the least that holds all but one pixel in ``BROKEN_PIXELS``."""
        if self.stated is not None:
            return self.stated
        allowed = self.pixels // BROKEN_PIXELS
        if self.lit <= allowed:
            return FULL_DEPTH  # black images say nothing
        fitting = (depth for depth, beyond in zip(CAMERA_DEPTHS, self.beyond, strict=True) if beyond <= allowed)
        return next(fitting, FULL_DEPTH)


def to_8_bits(values: NDArray[np.integer], depth: int, *, negative: bool = False) -> NDArray[np.uint8]:
    """Map 0..2^depth - 1 to 0..255 (255..0 if ``negative``), linear and rounded; larger values are cut off."""
    full = 2**depth - 1
    table = np.minimum((np.arange(0x10000, dtype=np.uint32) * 510 + full) // (2 * full), 255).astype(np.uint8)
    mapped: NDArray[np.uint8] = (255 - table if negative else table)[values]
    return mapped


def check_depth(
    name: str, values: NDArray[np.integer], depth: int | None, *, shift: int = 0, negative: bool = False
) -> None:
    """Warn of a 16-bit image that uses too little of its range, or more than the range that a run recorded.

    A camera of the recorded depth cannot exceed it, except by broken pixels. So an image that does is of another depth,
    and the part of it that is cut off at white could hide defects.

    Args:
        name: The file's name.
        values: Gray ``(H, W)`` or color ``(H, W, C)``.
        depth: Bits that the run recorded, if it did.
        shift: Number of lower bits of the file that ``values`` lack.
        negative: True if zero is white.

    Raises:
        ImageError: More than ``MOST_CUT`` of the pixels exceed the range.
    """
    peaks = _peaks(values)
    allowed = peaks.size // BROKEN_PIXELS
    used = FULL_DEPTH if depth is None else depth
    beyond = _beyond(peaks, used - shift)
    if beyond > MOST_CUT * peaks.size:
        raise _too_bright(name, used, beyond / peaks.size)
    if beyond > allowed:
        _warn_of_brightness(name, used, beyond / peaks.size)
    elif _beyond(peaks, used - _DARK_BITS - shift) <= allowed and peaks.any():
        fitting = next(bits for bits in (*CAMERA_DEPTHS, used) if _beyond(peaks, bits - shift) <= allowed)
        _warn_of_darkness(name, used, fitting, "bright" if negative else "dark")


def warn_seldom(kind: str, message: str, *arguments: object) -> None:
    """Log a warning for the first, tenth, hundredth ... image of a kind in this process."""
    count = next(_counts[kind])
    if str(count).strip("0") == "1":
        so_far = "" if count == 1 else f"\n  {count:,} such images so far"
        log.warning(message + "%s", *arguments, so_far)


def _too_bright(name: str, depth: int, share: float) -> ImageError:
    return ImageError(
        f"cannot read image {name} as the training images",
        expected=f"values of {depth} bits, as the run recorded",
        got=f"larger values in {100 * share:.0f} % of the pixels",
        remedy=_SAME_CAMERA,
    )


def _warn_of_brightness(name: str, depth: int, share: float) -> None:
    warn_seldom(
        "beyond",
        "image %s exceeds the %d bits of the training images: %.1f %% of its pixels are cut off\n  remedy: %s",
        name,
        depth,
        100 * share,
        _SAME_CAMERA,
    )


def _warn_of_darkness(name: str, depth: int, used: int, look: str) -> None:
    if depth < FULL_DEPTH:
        warn_seldom(
            "dark",
            "image %s is read as %s: it uses only the lowest %d of the %d bits of the training images\n"
            "  remedy: check the light, the exposure and the camera's bit depth",
            name,
            look,
            used,
            depth,
        )
        return
    warn_seldom(
        "dark",
        "image %s is read as %s: it is 16-bit, but uses only the lowest %d bits, as from a %d-bit camera\n"
        "  remedy: train on such images, which records their depth in the run, or scale values to 0..65535 "
        "(%d-bit ones times %d), for training and inspection alike",
        name,
        look,
        used,
        used,
        used,
        1 << (FULL_DEPTH - used),
    )


def _peaks(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return gray values, or the highest of each pixel's colors."""
    return values if values.ndim == 2 else values.max(axis=2)


def _beyond(peaks: NDArray[np.integer], bits: int) -> int:
    """Count the pixels that need more than some bits."""
    return int(np.count_nonzero(peaks >= 1 << max(bits, 0)))
