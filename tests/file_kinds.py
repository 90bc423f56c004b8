"""Image files of every kind, with their sizes or the reason why they cannot be read."""

import io
import struct
import zlib

import numpy as np
import PIL.Image

from clipada.images import MAX_PIXELS
from command_line import noise


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of 16-bit gray ``(H, W)``, or of 2 to 4 samples, which Pillow cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(
        ">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[values.size // (height * width)], 0, 0, 0
    )
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(PIL.Image.fromarray(noise(37, 91)), "JPEG", exif=exif)


def huge() -> bytes:
    side = 13_400
    assert side * side > MAX_PIXELS
    return encoded(PIL.Image.new("1", (side, side)), "PNG", compress_level=1)


RGB = PIL.Image.fromarray(noise(37, 91))


READABLE = {
    "16-bit.png": (encoded(PIL.Image.fromarray(noise()[..., 0].astype(np.uint16) * 257), "PNG"), (91, 37)),
    "cmyk.jpg": (encoded(RGB.convert("CMYK"), "JPEG"), (91, 37)),
    "palette.png": (encoded(RGB.convert("P"), "PNG"), (91, 37)),
    "rgba.png": (encoded(RGB.convert("RGBA"), "PNG"), (91, 37)),
    "grey.tif": (encoded(RGB.convert("L"), "TIFF"), (91, 37)),
    "turned.jpg": (turned(), (37, 91)),
    "1 x 1.bmp": (encoded(RGB.resize((1, 1)), "BMP"), (1, 1)),
    "wrong suffix.png": (encoded(RGB, "JPEG"), (91, 37)),
    "LOUD.JPG": (encoded(RGB, "JPEG"), (91, 37)),
}


UNREADABLE = {
    "zero-byte.png": (b"", "an empty file"),
    "truncated.png": (encoded(RGB, "PNG")[:2000], "damaged"),
    "truncated.jpg": (encoded(RGB, "JPEG")[:900], "damaged"),
    "note.png": (b"This is a note about line 3.\n", "another kind of file"),
    "huge.png": (huge(), "too large"),
    "drawing.gif.png": (encoded(RGB, "GIF"), "another kind of file"),
    "float.tif": (encoded(PIL.Image.fromarray(noise()[..., 0].astype(np.float32)), "TIFF"), "float pixels"),
}
