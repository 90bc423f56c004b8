"""Decoding of TIFF pixels that Pillow reads wrong or not at all: packed bits, 16-bit planes, 16-bit white-is-zero."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from clipada.images.decoding import DecodedImage
from clipada.images.depth import FULL_DEPTH
from clipada.images.tiff_codecs import decompress
from clipada.images.tiff_page import RGB, WHITE_IS_ZERO, TiffPage

_HORIZONTAL = 2
_WITHOUT_PREDICTOR = frozenset({1, 32773})
"""Compressions whose readers, libtiff for one, ignore the predictor."""

_LOWEST_BIT_FIRST = 2
LARGEST_TILE = 2**22
"""Largest number of pixels of a tile that is larger than its image."""

_NO_STRIP_LIMIT = 2**32 - 1
_ORIENTATION = 274


def decode(file: IO[bytes], page: TiffPage, picked: tuple[int, ...] | None = None) -> DecodedImage:
    """Decode a page for which ``decoded_here`` is true, or ``picked_here`` with some of its samples.

    The values of 16-bit samples are kept. Others map linearly, so that the full range of the file's bits becomes the
    full range of the image.

    Args:
        file: The TIFF.
        page: Its page.
        picked: One sample that is read as gray, or three that are read as red, green and blue, counted from 0; by
            default the first ones, by the page's kind.

    Returns:
        16-bit gray, or RGB.

    Raises:
        ValueError: A strip or tile is missing or too short.
    """
    picked = picked or ((0, 1, 2) if page.photometric == RGB else (0,))
    channels = len(picked)
    if page.samples <= max(picked):
        raise ValueError(f"{page.samples} samples in an RGB image")
    deep = page.bits[0] == FULL_DEPTH
    full = 2 ** page.bits[0] - 1
    pixels = np.zeros((page.height, page.width, channels), np.uint8 if channels == 3 and not deep else np.uint16)
    top = np.iinfo(pixels.dtype).max
    for row, column, first, values in _chunks(file, page, picked):
        places = [place for place, sample in enumerate(picked) if first <= sample < first + values.shape[2]]
        block = values[: page.height - row, : page.width - column, [picked[place] - first for place in places]]
        if not deep:
            block = (block.astype(np.uint32) * top + full // 2) // full
        height, width, _ = block.shape
        pixels[row : row + height, column : column + width, places] = block
    planes = [pixels[..., 0]] if channels == 1 else _bytes_of(pixels) if deep else [pixels]
    image, *low = (_upright(plane, page) for plane in planes)
    negative = page.photometric == WHITE_IS_ZERO
    return DecodedImage(image=image, low=low[0] if low else None, deep=deep, negative=negative, stated=page.depth)


def _bytes_of(values: NDArray[np.uint16]) -> list[NDArray[np.uint8]]:
    """Return the upper and the lower byte of each value, without a copy."""
    pairs = values.view(np.uint8).reshape(*values.shape, 2)
    upper = 1 if sys.byteorder == "little" else 0
    return [pairs[..., upper], pairs[..., 1 - upper]]


def _upright(pixels: NDArray[np.integer], page: TiffPage) -> PIL.Image.Image:
    """Return pixels as an image, turned as the page says."""
    image = PIL.Image.fromarray(pixels)
    image.getexif()[_ORIENTATION] = page.tag(_ORIENTATION, 1)
    return PIL.ImageOps.exif_transpose(image)


def _chunks(
    file: IO[bytes], page: TiffPage, picked: tuple[int, ...]
) -> Iterator[tuple[int, int, int, NDArray[np.uint16]]]:
    """Yield the top row, left column and first sample of each strip or tile, and its values ``(h, w, samples)``.

    Planes without a sample that is picked are left out.
    """
    tiled = 322 in page.tags
    width = page.tag(322) if tiled else page.width
    height = page.tag(323) if tiled else min(page.tag(278, _NO_STRIP_LIMIT), page.height)
    if min(width, height) < 1 or width * height > max(page.width * page.height, LARGEST_TILE):
        raise ValueError(f"strips or tiles of {width} x {height} pixels")
    offsets, counts = page.tags.get(324 if tiled else 273, ()), page.tags.get(325 if tiled else 279, ())
    across, down = -(-page.width // width), -(-page.height // height)
    planes, depth = (page.samples, 1) if page.planar else (1, page.samples)
    if min(len(offsets), len(counts)) < across * down * planes:
        raise ValueError(f"{len(offsets)} strips or tiles of {across * down * planes}")
    for number in range(across * down * planes):
        plane, place = divmod(number, across * down)
        if page.planar and plane not in picked:
            continue
        row, column = (place // across) * height, (place % across) * width
        rows = height if tiled else min(height, page.height - row)
        yield row, column, plane, _values(file, page, offsets[number], counts[number], (rows, width, depth))


def _values(
    file: IO[bytes], page: TiffPage, offset: int, count: int, shape: tuple[int, int, int]
) -> NDArray[np.uint16]:
    """Return the values of one strip or tile."""
    rows, width, depth = shape
    bits = page.bits[0]
    line = -(-width * depth * bits // 8)
    file.seek(offset)
    data = file.read(min(count, 2 * rows * line + 1024))
    if page.tag(266, 1) == _LOWEST_BIT_FIRST:
        data = _REVERSED[np.frombuffer(data, np.uint8)].tobytes()
    data = decompress(data, page.compression, rows * line)
    if len(data) < rows * line:
        raise ValueError(f"{len(data):,} bytes of a strip or tile of {rows * line:,}")
    values: NDArray[np.uint16]
    if bits == FULL_DEPTH:
        values = np.frombuffer(data, np.dtype(np.uint16).newbyteorder(page.order)).reshape(shape).astype(np.uint16)
    else:
        values = _unpacked(np.frombuffer(data, np.uint8).reshape(rows, line), bits, width * depth).reshape(shape)
    if page.tag(317, 1) == _HORIZONTAL and page.compression not in _WITHOUT_PREDICTOR:
        values = np.cumsum(values, axis=1, dtype=np.uint16) & (2**bits - 1)
    return values


def _unpacked(lines: NDArray[np.uint8], bits: int, number: int) -> NDArray[np.uint16]:
    """Return the first ``number`` values of each line of packed bytes, whose first bit is the highest."""
    values = np.zeros((len(lines), number), np.uint16)
    starts = np.arange(number) * bits
    padded = np.pad(lines, ((0, 0), (0, 3)))
    for row, line in enumerate(padded):
        first = starts // 8
        window = line[first].astype(np.uint32) << 16 | line[first + 1].astype(np.uint32) << 8 | line[first + 2]
        values[row] = (window >> (24 - bits - starts % 8)) & (2**bits - 1)
    return values


_REVERSED: NDArray[np.uint8] = np.packbits(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1
)[:, 0]
"""Each byte with its bits in reverse order."""
