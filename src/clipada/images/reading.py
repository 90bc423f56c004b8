"""Reading of image files: header, RGB pixels, masks and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageFile
from numpy.typing import NDArray

from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.errors import ImageError
from clipada.images.channels import pick, require_channels
from clipada.images.conversion import flatten, to_pixels, to_rgb
from clipada.images.decoding import DecodedImage, has_16_bits, load
from clipada.images.depth import FULL_DEPTH, FULL_VALUE, DepthUsage
from clipada.images.opening import MAX_PIXELS, checked_page, image_errors, name_of, open_header, opened, require_size
from clipada.images.tiff import largest_page
from clipada.images.tiff_page import SENSOR, WHITE_IS_ZERO, TiffPage
from clipada.images.tiff_pixels import decode
from clipada.images.tiff_refusals import low_bits_refusal
from clipada.types import Image

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass(frozen=True, kw_only=True)
class Header:
    """Header of an image file, read without decoding the image.

    Attributes:
        width, height: In pixels, as stored: the EXIF orientation is not applied.
        suffix: File name suffix of the format, independent of the file's own name.
        media_type: Media type of the format, as in HTTP.
        deep: True for samples of 16 bits.
    """

    width: int
    height: int
    suffix: str
    media_type: str
    deep: bool = False


def read_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read an image file's header without decoding the image; of a TIFF, that of the largest page.

    Raises:
        ImageError: The file is missing, empty or damaged.
        ImageKindError: It is not an image.
        ImageSizeError: It has more than ``max_pixels`` pixels.
    """
    name = name_of(source)
    with image_errors(name, max_pixels), opened(source) as file:
        page = largest_page(file, name)
        if page is not None:
            require_size(name, page.width, page.height, max_pixels)
            deep = max(page.bits) > 8
            return Header(
                width=page.width, height=page.height, suffix=_SUFFIXES["TIFF"], media_type="image/tiff", deep=deep
            )
        with open_header(file, name, page, max_pixels) as image:
            kind = image.format if image.format in _SUFFIXES else "JPEG"  # a JPEG with several pictures is called MPO
            return Header(
                width=image.width,
                height=image.height,
                suffix=_SUFFIXES[kind],
                media_type=f"image/{kind.lower()}",
                deep=has_16_bits(image),
            )


def read_rgb(source: Path | bytes, rules: ImageRules = DEFAULT_RULES) -> Image:
    """Decode an image file to RGB by a run's rules and apply its EXIF orientation.

    Palettes, gray, 1-bit and CMYK are converted; transparent pixels are blended with white. Of an animation, the first
    frame is read; of a TIFF, the page that the rules name, else the largest, and several of that size are refused. 9 to
    16 bits are scaled so that the full range of the bits that the file states becomes the full 8-bit range; 32-bit
    integer gray is read as 16-bit. Many cameras write 10, 12 or 14 bits into a file that states 16: the rules' depth
    says so, and a warning names the first, tenth, hundredth ... image that does not fit it. Float and signed images are
    refused: they have no fixed range, and scaling each image by its own range would let a defect change the values of
    the whole image. So are sensor values of a Bayer pattern, and channels without a meaning, unless the rules choose
    them. The colors of a pattern are those of the upright image's first pixels.

    Args:
        source: The file, or its bytes.
        rules: Channels, depth (from ``find_depth``) and page.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, too large, has float or wider integer pixels, or
            lacks the channel or the page.
    """
    with _decoded(source, rules, low=rules.depth is not None and rules.depth < FULL_DEPTH) as decoded:
        return to_pixels(to_rgb(decoded, name_of(source), rules))


def read_depth_usage(source: Path | bytes, rules: ImageRules = DEFAULT_RULES) -> DepthUsage | None:
    """Count how a 16-bit image uses its range; ``None`` for any other image, which is not decoded.

    Raises:
        ImageError: As for ``read_rgb``.
    """
    name = name_of(source)
    with image_errors(name), opened(source) as file:
        page = checked_page(file, name, MAX_PIXELS, rules)
        if page is not None and _is_decoded_here(page, rules):
            deep = page.bits == (FULL_DEPTH,)
        else:
            with open_header(file, name, page, MAX_PIXELS) as image:
                deep = has_16_bits(image)
        if not deep:
            return None
        file.seek(0)
        decoded = _load(file, name, page, rules, low=True)
        return DepthUsage.of(decoded.values(name), decoded.stated)


def image_sha256(source: Path | bytes | Image) -> str:
    """Return the SHA-256 hash of an image file's content, or of an array's values, in hex.

    Raises:
        ImageError: The file is missing or empty.
    """
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).hexdigest()
    with opened(source) as file:
        return hashlib.sha256(file.read()).hexdigest()


def readable_sha256(path: Path) -> str:
    """Return the hash of an image file as ``image_sha256`` does; empty if it cannot be read."""
    try:
        return image_sha256(path)
    except ImageError:
        return ""


def read_levels(source: Path | bytes) -> NDArray[np.generic]:
    """Decode a mask file to one value for each pixel, which ``clipada.data`` interprets.

    The value is the gray level, or the brightest of the three colors; 0 where a pixel is transparent. A palette image
    whose colors do not tell its labels apart is read as its labels.

    Returns:
        ``(H, W)`` uint8, of a deeper file uint16, int32 or float32.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, or too large.
    """
    with _decoded(source, DEFAULT_RULES) as decoded:
        image = decoded.image
        if image.mode == "F" or decoded.gray:
            values = np.asarray(image)
            return FULL_VALUE - values if decoded.negative else values
        levels: NDArray[np.uint8] = np.asarray(flatten(image, "black")).max(axis=2)
        if image.mode == "P":
            labels = np.asarray(image)
            return labels if np.unique(labels).size > np.unique(levels).size else levels
        return levels


@contextmanager
def _decoded(source: Path | bytes, rules: ImageRules, *, low: bool = False) -> Iterator[DecodedImage]:
    """Open and decode an image; turn every exception of Pillow, here or in the block, into an ``ImageError``."""
    name = name_of(source)
    with image_errors(name), opened(source) as file:
        page = checked_page(file, name, MAX_PIXELS, rules)
        yield _load(file, name, page, rules, low=low)


def _load(file: IO[bytes], name: str, page: TiffPage | None, rules: ImageRules, *, low: bool) -> DecodedImage:
    """Decode an image's chosen channels, with the lower 8 bits of 16-bit colors if ``low``."""
    if page is not None and _is_decoded_here(page, rules):
        if rules.numbers:
            require_channels(rules.numbers, page.samples, name)
        return decode(file, page, tuple(number - 1 for number in rules.numbers) or None)
    decoded = _load_by_pillow(file, name, page, low=low)
    return pick(decoded, rules.numbers, name) if rules.numbers else decoded


def _is_decoded_here(page: TiffPage, rules: ImageRules) -> bool:
    """Return True for pixels, or channels of them, that Pillow does not decode."""
    return page.picked_here if rules.numbers or page.photometric == SENSOR else page.decoded_here


def _load_by_pillow(file: IO[bytes], name: str, page: TiffPage | None, *, low: bool) -> DecodedImage:
    """Decode an image, with the lower 8 bits of 16-bit colors if ``low``."""

    def again() -> PIL.ImageFile.ImageFile:
        file.seek(0)
        return open_header(file, name, page, MAX_PIXELS)

    image = again()
    if page is not None and low and page.planar and has_16_bits(image):
        raise low_bits_refusal(page, name)
    decoded = load(image, again if low else None)
    if page is None:
        return decoded
    negative = decoded.gray and page.photometric == WHITE_IS_ZERO
    return replace(decoded, negative=negative, stated=page.depth)
