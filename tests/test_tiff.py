"""TIFF files in every layout of pixels that cameras and tools write: the same picture, or a refusal with a reason."""

from __future__ import annotations

import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.images import read_header, read_levels, read_rgb
from clipada.images.tiff import MAX_CHUNKS, MAX_PAGES, MAX_TAGS

HEIGHT, WIDTH = 37, 53
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, LAB, BAYER = 0, 1, 2, 5, 8, 32803
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


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
    if compression == 8:
        strips = [zlib.compress(strip) for strip in strips]
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


def assert_shows(content: bytes, expected: np.ndarray) -> None:
    read = read_rgb(content)
    assert read.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(read.astype(int) - expected).max() <= 1
    header = read_header(content)
    assert (header.width, header.height, header.suffix, header.media_type) == (WIDTH, HEIGHT, ".tif", "image/tiff")


# --- what is read


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [HEIGHT, 5])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_gray_of_any_depth_and_polarity(photometric, bits, rows, order):
    values = gray(scaled(bits))
    if photometric == WHITE_IS_ZERO:
        values = 2**bits - 1 - values
    assert_shows(tiff(page(values, bits, photometric, rows=rows, order=order), order=order), gray(picture()))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("extra", [0, 1])
def test_rgb_of_any_depth_and_arrangement(extra, bits, planar, order):
    values = scaled(bits)
    if extra:
        values = np.dstack([values, values[..., ::-1][..., :1]])  # near infrared, say
    content = tiff(page(values, bits, RGB, rows=7, planar=planar, order=order, t338=[0] * extra), order=order)
    assert_shows(content, picture())


@pytest.mark.parametrize("predictor", [1, 2])
def test_compressed_white_is_zero(predictor):
    values = 65535 - gray(scaled(16))
    content = tiff(page(values, 16, WHITE_IS_ZERO, rows=7, compression=8, predictor=predictor))
    assert_shows(content, gray(picture()))


def test_tiles():
    across, down, side = 4, 3, 16
    values = np.zeros((down * side, across * side, 1), np.uint16)
    values[:HEIGHT, :WIDTH] = 65535 - gray(scaled(16))
    tiles = [
        values[row * side :][:side, column * side :][:, :side].astype("<u2").tobytes()
        for row in range(down)
        for column in range(across)
    ]
    tags, _ = page(gray(scaled(16)), 16, WHITE_IS_ZERO)
    del tags[278]
    content = tiff((tags | {322: [side], 323: [side], 324: [0] * 12, 325: [0] * 12}, []))
    body = len(content)
    offsets = [body + number * side * side * 2 for number in range(12)]
    content = tiff((tags | {322: [side], 323: [side], 324: offsets, 325: [side * side * 2] * 12}, []))
    assert_shows(content + b"".join(tiles), gray(picture()))


def test_orientation_of_a_layout_that_pillow_cannot_read():
    values = gray(scaled(12))
    content = tiff(page(np.rot90(values), 12, BLACK_IS_ZERO, rows=WIDTH, t274=6))
    assert np.abs(read_rgb(content)[..., :1].astype(int) - gray(picture())).max() <= 1


def test_masks_of_any_depth():
    values = np.zeros((HEIGHT, WIDTH, 1), np.uint64)
    values[3, 4], values[5, 6] = 1, 4095
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3, 4] = mask[5, 6] = True
    np.testing.assert_array_equal(read_levels(tiff(page(values, 12, BLACK_IS_ZERO))) > 0, mask)
    np.testing.assert_array_equal(read_levels(tiff(page(4095 - values, 12, WHITE_IS_ZERO))) > 0, mask)


# --- pages


def test_a_thumbnail_before_the_image_does_not_count():
    thumbnail = page(gray(scaled(8))[::4, ::4] * 0, 8, BLACK_IS_ZERO)
    image = page(gray(scaled(8)), 8, BLACK_IS_ZERO)
    assert_shows(tiff(thumbnail, image), gray(picture()))
    marked = page(gray(scaled(8)) * 0, 8, BLACK_IS_ZERO, t254=1)
    assert_shows(tiff(marked, image), gray(picture()))
    assert_shows(tiff(image, marked), gray(picture()))
    assert_shows(tiff(marked, page(gray(scaled(12)), 12, BLACK_IS_ZERO)), gray(picture()))


def test_several_pictures_are_refused():
    dark, light = (page(gray(scaled(8)) * factor, 8, BLACK_IS_ZERO) for factor in (0, 1))
    with pytest.raises(ImageError, match=r"got: a TIFF of 3 pages of 53 x 37 pixels\n  remedy: save the page that"):
        read_rgb(tiff(dark, light, light))


# --- what is refused


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (tiff(page(gray(scaled(8)), 8, BAYER)), r"a Bayer pattern\)\n  remedy: convert it to RGB"),
        (tiff(page(gray(scaled(12)), 12, BAYER)), r"a Bayer pattern\)\n  remedy: convert it to RGB"),
        (tiff(page(gray(scaled(15)), 16, BLACK_IS_ZERO, t339=SIGNED)), "signed 16-bit pixels"),
        (tiff(page(gray(scaled(7)), 8, BLACK_IS_ZERO, t339=SIGNED)), "signed 8-bit pixels"),
        (tiff(page(gray(scaled(16)), 16, BLACK_IS_ZERO, t339=FLOAT)), "float pixels"),
        (tiff(page(scaled(16), 32, RGB, t339=[FLOAT] * 3)), "float pixels"),
        (tiff(page(scaled(16), 32, RGB)), "a TIFF of 3 x 32 bits, RGB"),
        (tiff(page(gray(scaled(16)), 32, WHITE_IS_ZERO)), "32-bit gray whose zero is white"),
        (tiff(page(np.dstack([scaled(8)] * 2), 8, BLACK_IS_ZERO, t338=[0] * 5)), "6 channels, and the file does not"),
        (tiff(page(np.dstack([scaled(16)] * 2)[..., :4], 16, BLACK_IS_ZERO, t338=[0] * 3)), "4 channels, and the file"),
        (tiff(page(np.dstack([scaled(16)] * 2)[..., :4], 16, RGB, planar=True, t338=1)), "16-bit transparency"),
        (tiff(page(scaled(8)[..., :2], 8, BLACK_IS_ZERO, planar=True, t338=2)), "8-bit transparency"),
        (tiff(page(np.dstack([scaled(16)] * 2)[..., :4], 16, CMYK, planar=True)), "CMYK colors in planes"),
        (tiff(page(scaled(8), 8, LAB, planar=True)), "Lab colors in planes"),
        (tiff(page(gray(scaled(12)), 12, BLACK_IS_ZERO, compression=5)), "12-bit pixels in a TIFF with compression 5"),
        (tiff(page(gray(scaled(12)), 12, BLACK_IS_ZERO, t266=2)), "12-bit pixels in a TIFF with"),
        (tiff(page(scaled(8), 8, RGB, compression=50001)), "a TIFF compressed as WebP"),
        (tiff(page(scaled(8), 8, RGB, compression=34712)), "a TIFF of 3 x 8 bits, RGB, compression 34712"),
        (tiff(page(scaled(8), 8, RGB, t258=[5, 6, 5])), r"a TIFF of 3 x 5 \+ 6 bits, RGB"),
    ],
)
def test_pixels_without_a_known_meaning_are_refused_with_reason_and_remedy(content, got):
    with pytest.raises(ImageKindError, match=rf"expected: 8-bit or 16-bit .*\n  got: .*{got}") as refusal:
        read_rgb(content)
    assert refusal.value.remedy


def test_missing_and_short_strips_are_damage():
    tags, strips = page(gray(scaled(12)), 12, BLACK_IS_ZERO, rows=7)
    with pytest.raises(ImageError, match="damaged: 2 strips or tiles of 6"):
        read_rgb(tiff((tags, strips[:2])))
    with pytest.raises(ImageError, match=r"damaged: 99 bytes of a strip or tile of 560"):
        read_rgb(tiff((tags, [strips[0][:99], *strips[1:]])))


# --- what costs too much


def test_strips_tags_and_pages_are_bounded_before_they_are_parsed():
    start = time.process_time()
    image = page(gray(scaled(8)), 8, BLACK_IS_ZERO, rows=1)
    tags = {256: [8], 257: [MAX_CHUNKS + 1], 258: [8], 262: [1], 278: [1]}
    many_strips = tiff((tags, [b""] * (MAX_CHUNKS + 1)))
    for content, limit in (
        (many_strips, f"{MAX_CHUNKS:,} strips or tiles"),
        (tiff((image[0] | {number: [0] for number in range(1000, 1001 + MAX_TAGS)}, image[1])), f"{MAX_TAGS:,} tags"),
        (tiff((image[0] | {338: [0] * (MAX_TAGS + 1)}, image[1])), f"{MAX_TAGS:,} values of tag 338"),
        (tiff(*[({256: [1], 257: [1]}, [])] * (MAX_PAGES + 1)), f"{MAX_PAGES:,} pages"),
    ):
        for read in (read_rgb, read_header):
            with pytest.raises(ImageSizeError, match=f"too large\n  expected: a TIFF of at most {limit}"):
                read(content)
    assert time.process_time() - start < 5


def test_a_chain_of_pages_that_returns_to_its_start_ends():
    content = bytearray(tiff(page(gray(scaled(8)), 8, BLACK_IS_ZERO)))
    content[-4:] = content[4:8]
    assert_shows(bytes(content), gray(picture()))


@settings(max_examples=150, deadline=None)
@given(
    bits=st.sampled_from([12, 16]),
    flips=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 400),
)
def test_damage_is_an_image_error_and_nothing_else(bits, flips, cut):
    content = bytearray(tiff(page(gray(scaled(bits)), bits, WHITE_IS_ZERO, rows=7, compression=8)))
    for place, value in flips:
        content[-1 - place % 300] = value
    with suppress(ImageError):
        assert read_rgb(bytes(content[: len(content) - cut])).ndim == 3


def test_pillow_agrees_where_it_can_read(tmp_path):
    PIL.Image.fromarray(picture()).save(tmp_path / "part.tif")
    np.testing.assert_array_equal(read_rgb(tmp_path / "part.tif"), picture())
