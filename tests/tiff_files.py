"""TIFF files of one picture in any layout of pixels, written by hand: other writers refuse most of them."""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict

import imagecodecs
import numpy as np

HEIGHT, WIDTH = 37, 53
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, LAB, BAYER = 0, 1, 2, 5, 8, 32803
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

COMPRESSED = defaultdict(
    lambda: bytes,
    {
        5: imagecodecs.lzw_encode,
        8: zlib.compress,
        32773: imagecodecs.packbits_encode,
        34925: imagecodecs.lzma_encode,
        50000: imagecodecs.zstd_encode,
    },
)
"""Compression of strips by code; of any other code, they stay as they are."""


def picture() -> np.ndarray:
    """A smooth picture ``(H, W, 3)`` whose channels differ, and whose halves do, too."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x + 20, 6 * y + 10, 255 - 2 * x - 3 * y], axis=2).astype(np.uint8)


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Values ``(h, n)`` as a TIFF stores them: lines start at full bytes, and the first bit is the highest."""
    if bits in (8, 16, 32):
        return values.astype(np.dtype(f"u{bits // 8}").newbyteorder(order)).tobytes()
    ones = (values.astype(np.uint32)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def page(
    pixels: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    rows: int = HEIGHT,
    planar: bool = False,
    compression: int = 1,
    predictor: int = 1,
    **tags: int | list[int],
) -> tuple[dict[int, list[int]], list[bytes]]:
    """Tags and strips of values ``(H, W, samples)``."""
    height, width, samples = pixels.shape
    planes = [pixels[..., [sample]] for sample in range(samples)] if planar else [pixels]
    if predictor == 2:
        planes = [np.diff(plane.astype(np.uint16), axis=1, prepend=np.uint16(0)) for plane in planes]
    strips = [
        packed(plane[top : top + rows].reshape(min(rows, height - top), -1), bits, order)
        for plane in planes
        for top in range(0, height, rows)
    ]
    strips = [COMPRESSED[compression](strip) for strip in strips]
    known = {256: [width], 257: [height], 258: [bits] * samples, 259: [compression], 262: [photometric]}
    known |= {277: [samples], 278: [rows], 284: [2 if planar else 1], 317: [predictor]}
    return known | {
        int(name[1:]): value if isinstance(value, list) else [value] for name, value in tags.items()
    }, strips


def tiff(*pages: tuple[dict[int, list[int]], list[bytes]], order: str = "<") -> bytes:
    """A TIFF of some pages, each of tags and strips."""
    file = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4
    for given_tags, strips in pages:
        offsets = []
        for strip in strips:
            offsets.append(len(file))
            file += strip
        tags = given_tags | ({273: offsets, 279: [len(strip) for strip in strips]} if strips else {})
        entries = b""
        for number, values in sorted(tags.items()):
            value = np.asarray(values, np.dtype(np.uint32).newbyteorder(order)).tobytes()
            if len(value) > 4:
                file += value
                value = struct.pack(order + "I", len(file) - len(value))
            entries += struct.pack(order + "HHI", number, 4, len(values)) + value
        struct.pack_into(order + "I", file, link, len(file))
        file += struct.pack(order + "H", len(tags)) + entries
        link = len(file)
        file += bytes(4)
    return bytes(file)


def scaled(bits: int) -> np.ndarray:
    """The picture's values in the range of some bits."""
    return (picture().astype(np.uint64) * (2**bits - 1) + 127) // 255


def gray(values: np.ndarray) -> np.ndarray:
    return values[..., :1]
