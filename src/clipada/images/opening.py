"""Opening of image files: their kind, their page, their size, and errors of Pillow in the project's words."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import PIL.Image
import PIL.ImageFile

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.files import open_regular
from clipada.images.tiff import no_page, read_page
from clipada.images.tiff_page import TiffPage
from clipada.images.tiff_refusals import unread

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, in pixels: Pillow itself refuses larger ones."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_PILLOW_MODULES = r"PIL\."


@contextmanager
def image_errors(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turn every exception of Pillow on a file into an ``ImageError``."""
    try:
        yield
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageKindError(
            f"cannot read image {name}",
            expected=", ".join(FORMATS),
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
def opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    """Open the source as a file and check that it is not empty."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    except OSError as error:
        folder = isinstance(source, Path) and source.is_dir()
        got = "a folder" if folder else error.strerror or str(error)
        raise ImageError(f"cannot read image {name_of(source)}", expected="an image file", got=got) from error
    with file:
        if not file.read(1):
            raise ImageError(f"cannot read image {name_of(source)}", expected="an image file", got="an empty file")
        file.seek(0)
        yield file


def checked_page(file: IO[bytes], name: str, max_pixels: int, rules: ImageRules) -> TiffPage | None:
    """Return the page of a TIFF that is the image, checked for its size and kind; ``None`` for other files."""
    page = read_page(file, name, rules)
    if page is None and (rules.page or 1) > 1:
        raise no_page(name, rules.page or 1, 1)
    if page is not None:
        require_size(name, page.width, page.height, max_pixels)
    return page


def open_header(file: IO[bytes], name: str, page: TiffPage | None, max_pixels: int) -> PIL.ImageFile.ImageFile:
    """Open an image without decoding it and refuse it if it is too large."""
    _ignore_pillow_warnings()
    try:
        image = PIL.Image.open(file, formats=FORMATS)
    except PIL.UnidentifiedImageError:
        if page is None:
            raise
        raise unread(page, name) from None
    if page is not None and page.index:
        image.seek(page.index)
    require_size(name, image.width, image.height, max_pixels)
    return image


def require_size(name: str, width: int, height: int, max_pixels: int) -> None:
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


def name_of(source: Path | bytes) -> str:
    """Return the source's name for error messages."""
    return f"of {len(source)} bytes" if isinstance(source, bytes) else str(source)
