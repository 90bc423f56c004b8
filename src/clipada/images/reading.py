"""Reading of image files: header, RGB pixels, masks and hashes."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageFile
from numpy.typing import NDArray

from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.files import open_regular
from clipada.images.conversion import flatten, to_rgb
from clipada.images.decoding import DecodedImage, has_16_bits, load
from clipada.images.depth import FULL_DEPTH, FULL_VALUE, DepthUsage
from clipada.images.tiff import read_page
from clipada.images.tiff_page import WHITE_IS_ZERO, TiffPage
from clipada.images.tiff_pixels import decode
from clipada.images.tiff_refusals import low_bits_refusal, unread
from clipada.types import Image

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels: Pillow itself refuses larger ones."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
_FORMATS = tuple(_SUFFIXES)
_PILLOW_MODULES = r"PIL\."


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
    """Read an image file's header without decoding the image.

    Raises:
        ImageError: The file is missing, empty or damaged.
        ImageKindError: It is not an image.
        ImageSizeError: It has more than ``max_pixels`` pixels.
    """
    name = _name(source)
    with _image_errors(name, max_pixels), _opened(source) as file:
        page = _checked_page(file, name, max_pixels)
        if page is not None and page.decoded_here:
            deep = page.bits == (FULL_DEPTH,)
            return Header(
                width=page.width, height=page.height, suffix=_SUFFIXES["TIFF"], media_type="image/tiff", deep=deep
            )
        with _open_header(file, name, page, max_pixels) as image:
            kind = image.format if image.format in _SUFFIXES else "JPEG"  # a JPEG with several pictures is called MPO
            return Header(
                width=image.width,
                height=image.height,
                suffix=_SUFFIXES[kind],
                media_type=f"image/{kind.lower()}",
                deep=has_16_bits(image),
            )


def read_rgb(source: Path | bytes, depth: int | None = None) -> Image:
    """Decode an image file to RGB and apply its EXIF orientation.

    Palettes, gray, 1-bit and CMYK are converted; transparent pixels are blended with white. Of an animation, the first
    frame is read; of a TIFF, the largest page, and several pages of that size are refused. 9 to 16 bits are scaled so
    that the full range of the bits that the file states becomes the full 8-bit range; 32-bit integer gray is read as
    16-bit. Many cameras write 10, 12 or 14 bits into a file that states 16: ``depth`` says so, and a warning names the
    first, tenth, hundredth ... image that does not fit it. Float and signed images are refused: they have no fixed
    range, and scaling each image by its own range would let a defect change the values of the whole image. So are
    sensor values of a Bayer pattern, and channels without a meaning.

    Args:
        source: The file, or its bytes.
        depth: Bits of the camera's values in 16-bit files, 8 to 16, from ``find_depth``; ``None`` for all 16.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, too large, or has float or wider integer pixels.
    """
    with _decoded(source, low=depth is not None and depth < FULL_DEPTH) as decoded:
        return np.array(to_rgb(decoded, _name(source), depth))


def read_depth_usage(source: Path | bytes) -> DepthUsage | None:
    """Count how a 16-bit image uses its range; ``None`` for any other image, which is not decoded.

    Raises:
        ImageError: As for ``read_rgb``.
    """
    name = _name(source)
    with _image_errors(name), _opened(source) as file:
        page = _checked_page(file, name, MAX_PIXELS)
        if page is not None and page.decoded_here:
            deep = page.bits == (FULL_DEPTH,)
        else:
            with _open_header(file, name, page, MAX_PIXELS) as image:
                deep = has_16_bits(image)
        if not deep:
            return None
        file.seek(0)
        decoded = _load(file, name, page, low=True)
        return DepthUsage.of(decoded.values(name), decoded.stated)


def image_sha256(source: Path | bytes | Image) -> str:
    """Return the SHA-256 hash of an image file's content, or of an array's values, in hex.

    Raises:
        ImageError: The file is missing or empty.
    """
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).hexdigest()
    with _opened(source) as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_levels(source: Path | bytes) -> NDArray[np.generic]:
    """Decode a mask file to one value for each pixel, which ``clipada.data`` interprets.

    The value is the gray level, or the brightest of the three colors; 0 where a pixel is transparent. A palette image
    whose colors do not tell its labels apart is read as its labels.

    Returns:
        ``(H, W)`` uint8, of a deeper file uint16, int32 or float32.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, or too large.
    """
    with _decoded(source) as decoded:
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
def _decoded(source: Path | bytes, *, low: bool = False) -> Iterator[DecodedImage]:
    """Open and decode an image; turn every exception of Pillow, here or in the block, into an ``ImageError``."""
    name = _name(source)
    with _image_errors(name), _opened(source) as file:
        page = _checked_page(file, name, MAX_PIXELS)
        yield _load(file, name, page, low=low)


def _load(file: IO[bytes], name: str, page: TiffPage | None, *, low: bool) -> DecodedImage:
    """Decode an image, with the lower 8 bits of 16-bit colors if ``low``."""
    if page is not None and page.decoded_here:
        return decode(file, page)

    def opened() -> PIL.ImageFile.ImageFile:
        file.seek(0)
        return _open_header(file, name, page, MAX_PIXELS)

    image = opened()
    if page is not None and low and page.planar and has_16_bits(image):
        raise low_bits_refusal(page, name)
    decoded = load(image, opened if low else None)
    if page is None:
        return decoded
    negative = decoded.gray and page.photometric == WHITE_IS_ZERO
    return replace(decoded, negative=negative, stated=page.depth)


@contextmanager
def _image_errors(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turn every exception of Pillow on a file into an ``ImageError``."""
    try:
        yield
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageKindError(
            f"cannot read image {name}",
            expected=", ".join(_FORMATS),
            got="another kind of file",
            remedy="save it as PNG",
        ) from None
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(name, str(error), max_pixels) from error
    except Exception as error:  # Pillow's parsers raise exceptions of any type on damaged files
        raise ImageError(
            f"cannot read image {name}",
            expected="a whole image file",
            got=f"damaged: {error or type(error).__name__}",
            remedy="copy or export the file again",
        ) from error


@contextmanager
def _opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    """Open the source as a file and check that it is not empty."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    except OSError as error:
        folder = isinstance(source, Path) and source.is_dir()
        got = "a folder" if folder else error.strerror or str(error)
        raise ImageError(f"cannot read image {_name(source)}", expected="an image file", got=got) from error
    with file:
        if not file.read(1):
            raise ImageError(f"cannot read image {_name(source)}", expected="an image file", got="an empty file")
        file.seek(0)
        yield file


def _checked_page(file: IO[bytes], name: str, max_pixels: int) -> TiffPage | None:
    """Return the page of a TIFF that is the image, checked for its size and kind; ``None`` for other files."""
    page = read_page(file, name)
    if page is not None:
        _require_size(name, page.width, page.height, max_pixels)
    return page


def _open_header(file: IO[bytes], name: str, page: TiffPage | None, max_pixels: int) -> PIL.ImageFile.ImageFile:
    """Open an image without decoding it and refuse it if it is too large."""
    _ignore_pillow_warnings()
    try:
        image = PIL.Image.open(file, formats=_FORMATS)
    except PIL.UnidentifiedImageError:
        if page is None:
            raise
        raise unread(page, name) from None
    if page is not None and page.index:
        image.seek(page.index)
    _require_size(name, image.width, image.height, max_pixels)
    return image


def _require_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raise ``ImageSizeError`` for an image with too many pixels."""
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} = {width * height:,} pixels", max_pixels)


def _ignore_pillow_warnings() -> None:
    """Ignore warnings of Pillow's own modules, e.g. on metadata that does not affect pixels.

    The filter stays: ``warnings.catch_warnings`` is not thread-safe, overlapping blocks restore each other's filters.
    """
    ours = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)
    if not warnings.filters or warnings.filters[0] != ours:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


def _too_large(name: str, got: str, max_pixels: int) -> ImageSizeError:
    """Return the error for an image with too many pixels."""
    return ImageSizeError(
        f"image {name} is too large",
        expected=f"at most {max_pixels:,} pixels",
        got=got,
        remedy="scale it down, or cut it into parts",
    )


def _name(source: Path | bytes) -> str:
    """Return the source's name for error messages."""
    return f"of {len(source)} bytes" if isinstance(source, bytes) else str(source)
