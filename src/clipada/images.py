"""Image files: reading any camera's file as RGB, resizing, writing PNG, and resizing maps to the image's own size."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.files import atomic_write, open_regular
from clipada.types import Image, Map, Mask

log = logging.getLogger(__name__)

_warned_of_dark_image = threading.Event()

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels: Pillow itself refuses larger ones."""

COMPRESSION = 1
"""Level of zlib compression of PNG files, 1..9. Higher levels take three times as long for files a tenth smaller."""

TWELVE_BITS = 2**12 - 1
"""Value up to which a 16-bit image probably has a camera's 12 bits, not scaled to the file's range."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
_FORMATS = tuple(_SUFFIXES)
_PILLOW_MODULES = r"PIL\."
_EIGHT_BIT_REMEDY = "save it as 8-bit, or as 16-bit gray that uses the full range"


@dataclass(frozen=True, kw_only=True)
class Header:
    """Header of an image file, read without decoding the image.

    Attributes:
        width, height: In pixels, as stored: the EXIF orientation is not applied.
        suffix: File name suffix of the format, independent of the file's own name.
        media_type: Media type of the format, as in HTTP.
    """

    width: int
    height: int
    suffix: str
    media_type: str


def read_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read an image file's header without decoding the image.

    Raises:
        ImageError: The file is missing, empty or damaged.
        ImageKindError: It is not an image.
        ImageSizeError: It has more than ``max_pixels`` pixels.
    """
    name = _name(source)
    with _image_errors(name, max_pixels), _opened(source) as file, _open_header(file, name, max_pixels) as image:
        kind = image.format if image.format in _SUFFIXES else "JPEG"  # a JPEG with several pictures calls itself MPO
        return Header(
            width=image.width, height=image.height, suffix=_SUFFIXES[kind], media_type=f"image/{kind.lower()}"
        )


def read_rgb(source: Path | bytes) -> Image:
    """Decode an image file to RGB and apply its EXIF orientation.

    Palettes, gray, 1-bit and CMYK are converted; transparent pixels are blended with white; the first frame is read.
    16-bit gray is divided by 257, so that its full range maps to the full 8-bit range; 32-bit integer gray is read as
    16-bit. A camera's 10 or 12 bits in such a file come out dark; a warning is logged for the first such file of a
    process. Float images are refused: they have no fixed range, and scaling each image by its own range would let a
    defect change the values of the whole image.

    Args:
        source: The file, or its bytes.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, too large, or has float or wider integer pixels.
    """
    with _decoded(source) as image:
        return np.array(_to_rgb(image, _name(source)))


def image_sha256(source: Path | bytes | Image) -> str:
    """Return the SHA-256 hash of an image file's content, or of an array's values, in hex.

    Raises:
        ImageError: The file is missing or empty.
    """
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).hexdigest()
    with _opened(source) as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_mask(path: Path) -> Mask:
    """Decode a mask file: every pixel that is not black is anomalous, for any colors and bit depth.

    Transparent pixels count as black.

    Returns:
        ``(H, W)`` bool.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, or too large.
    """
    with _decoded(path) as image:
        if image.mode == "F" or image.mode.startswith("I"):
            return np.asarray(image) > 0
        colors: NDArray[np.uint8] = np.asarray(_flattened(image, "black"))
        mask: Mask = np.any(colors > 0, axis=2)
        return mask


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resize ``(H, W, 3)`` uint8 to ``size`` (height, width): bicubic and antialiased, like CLIP's preprocessing."""
    height, width = size
    return np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BICUBIC))


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize ``(H, W)`` bool to ``size`` (height, width): each new pixel takes the old one at its center."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size, strict=True))
    return mask[np.ix_(rows, columns)]


def restore_map(anomaly_map: Map, size: tuple[int, int]) -> Map:
    """Resize a map ``(h, w)`` float32 to an image's own ``size`` (height, width), bilinear.

    Values never leave the range of the input.
    """
    height, width = size
    resized = PIL.Image.fromarray(anomaly_map).resize((width, height), PIL.Image.Resampling.BILINEAR)
    restored: Map = np.asarray(resized).clip(anomaly_map.min(), anomaly_map.max())
    return restored


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


@contextmanager
def _decoded(source: Path | bytes) -> Iterator[PIL.Image.Image]:
    """Open and decode an image; turn every exception of Pillow, here or in the block, into an ``ImageError``."""
    name = _name(source)
    with _image_errors(name), _opened(source) as file, _open_header(file, name, MAX_PIXELS) as image:
        image.load()
        PIL.ImageOps.exif_transpose(image, in_place=True)
        yield image


@contextmanager
def _image_errors(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turn every exception of Pillow on a file into an ``ImageError``."""
    try:
        yield
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageKindError(
            f"cannot read image {name}", expected=", ".join(_FORMATS), got="another kind of file"
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


def _open_header(file: IO[bytes], name: str, max_pixels: int) -> PIL.Image.Image:
    """Open an image without decoding it and refuse it if it is too large."""
    _ignore_pillow_warnings()
    image = PIL.Image.open(file, formats=_FORMATS)
    if image.width * image.height > max_pixels:
        raise _too_large(name, f"{image.width} x {image.height} = {image.width * image.height:,} pixels", max_pixels)
    return image


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


def _to_rgb(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Convert a decoded image of any mode to RGB."""
    if image.mode == "F":
        raise ImageError(
            f"cannot read image {name}",
            expected="integer pixels",
            got="float pixels, which have no fixed range",
            remedy=_EIGHT_BIT_REMEDY,
        )
    if image.mode.startswith("I"):
        return PIL.Image.fromarray(_gray_from_16_bit(np.asarray(image), name)).convert("RGB")
    return _flattened(image, "white")


def _gray_from_16_bit(values: NDArray[np.integer], name: str) -> NDArray[np.uint8]:
    """Convert integer gray ``(H, W)`` of range 0..65535 to 0..255: divide by 257 and round."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(
            f"cannot read image {name}",
            expected="gray values 0..65535",
            got=f"{low}..{high}",
            remedy=_EIGHT_BIT_REMEDY,
        )
    if 0 < high <= TWELVE_BITS:
        _warn_if_dark(name, high)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _warn_if_dark(name: str, high: int) -> None:
    """Warn, once per process, that a 16-bit image uses so little of its range that it is almost black."""
    if not _warned_of_dark_image.is_set():
        _warned_of_dark_image.set()
        log.warning(
            "image %s is read as dark: it is 16-bit, but its highest value is %d, as from a 12-bit camera\n"
            "  remedy: scale values to 0..65535 (12-bit ones times 16), for training and inspection alike",
            name,
            high,
        )


def _flattened(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    """Convert an 8-bit image to RGB and blend transparent pixels with ``background``."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, background), image).convert("RGB")


def _name(source: Path | bytes) -> str:
    """Return the source's name for error messages."""
    return f"of {len(source)} bytes" if isinstance(source, bytes) else str(source)
