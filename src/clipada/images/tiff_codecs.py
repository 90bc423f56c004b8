"""Compressions of the strips and tiles of TIFF files, each with a bound on the bytes that it gives."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

EXTRA = "install its codecs: in the clone, pip install --constraint constraints.txt '.[tiff]'"
"""Remedy where ``imagecodecs`` is missing."""

_NONE, _DEFLATE = 1, frozenset({8, 32946})
_EXTRA_CODECS: Mapping[int, str] = {5: "lzw", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
_NAMES = {5: "LZW", 7: "JPEG", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}


def codec_name(compression: int) -> str:
    """Return a compression in words."""
    return f"compression {_NAMES.get(compression, compression)}"


def can_decompress(compression: int) -> bool:
    """Return True if strips of a compression can be decompressed here."""
    return compression == _NONE or compression in _DEFLATE or (needs_extra(compression) and has_extra())


def needs_extra(compression: int) -> bool:
    """Return True for a compression that only ``imagecodecs`` decompresses."""
    return compression in _EXTRA_CODECS


def has_extra() -> bool:
    """Return True if ``imagecodecs`` is installed."""
    return find_spec("imagecodecs") is not None


def decompress(data: bytes, compression: int, size: int) -> bytes:
    """Decompress one strip or tile to at most ``size`` bytes.

    Raises:
        ValueError: The data are damaged.
    """
    if compression == _NONE:
        return data[:size]
    if compression in _DEFLATE:
        return zlib.decompressobj().decompress(data, size)
    buffer = bytearray(size)
    written = memoryview(_extra_decoder(compression)(data, out=buffer))
    return bytes(written[:size])


def _extra_decoder(compression: int) -> Callable[..., Any]:
    import imagecodecs

    decoder: Callable[..., Any] = getattr(imagecodecs, f"{_EXTRA_CODECS[compression]}_decode")
    return decoder
