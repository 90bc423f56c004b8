"""TIFF files in every layout of pixels that cameras and tools write: the same picture, or a refusal with a reason."""

from __future__ import annotations

import time
from contextlib import suppress

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.images import read_header, read_levels, read_rgb
from clipada.images.tiff import MAX_CHUNKS, MAX_PAGES, MAX_TAGS
from tiff_files import (
    BAYER,
    BLACK_IS_ZERO,
    CMYK,
    COMPRESSED,
    FLOAT,
    HEIGHT,
    LAB,
    RGB,
    SIGNED,
    WHITE_IS_ZERO,
    WIDTH,
    gray,
    page,
    picture,
    scaled,
    tiff,
)


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("compression", "predictor"), [(5, 1), (5, 2), (8, 1), (8, 2), (32773, 1), (34925, 2), (50000, 2)]
)
def test_compressed_white_is_zero(compression, predictor, bits, order):
    values = 2**bits - 1 - gray(scaled(bits))
    tags_and_strips = page(
        values, bits, WHITE_IS_ZERO, rows=7, compression=compression, predictor=predictor, order=order
    )
    assert_shows(tiff(tags_and_strips, order=order), gray(picture()))


@pytest.mark.parametrize("compression", [5, 8, 32773, 34925, 50000])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB])
def test_compressed_pixels_of_any_depth(photometric, bits, planar, compression):
    values = scaled(bits) if photometric == RGB else gray(scaled(bits))
    if photometric == WHITE_IS_ZERO:
        values = 2**bits - 1 - values
    content = tiff(page(values, bits, photometric, rows=7, planar=planar, compression=compression))
    assert_shows(content, picture() if photometric == RGB else gray(picture()))


@pytest.mark.parametrize("compression", [5, 32773])
def test_what_only_the_extra_decompresses_names_it_where_it_is_missing(compression, monkeypatch):
    monkeypatch.setattr("clipada.images.tiff_codecs.find_spec", lambda _: None)
    packed_bits = tiff(page(gray(scaled(12)), 12, BLACK_IS_ZERO, compression=compression))
    with pytest.raises(ImageKindError, match=r"12-bit pixels in a TIFF with .*\n  remedy: install its .*\[tiff\]"):
        read_rgb(packed_bits)
    negative = tiff(page(65535 - gray(scaled(16)), 16, WHITE_IS_ZERO, compression=compression))
    assert_shows(negative, gray(picture()))
    planes = tiff(page(scaled(16), 16, RGB, compression=compression, planar=True))
    assert_shows(planes, picture())
    with pytest.raises(ImageKindError, match=r"only the upper 8 bits .*\n  remedy: install its codecs: .*\[tiff\]"):
        read_rgb(planes, ImageRules(depth=12))


@pytest.mark.parametrize("bits", [12, 16])
def test_lowest_bit_first(bits):
    (tags, strips) = page(gray(scaled(bits)), bits, BLACK_IS_ZERO, rows=7, t266=2)
    content = tiff((tags, [imagecodecs.bitorder_encode(strip) for strip in strips]))
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
    for bits in (12, 16):
        white = 2**bits - 1
        np.testing.assert_array_equal(read_levels(tiff(page(values, bits, BLACK_IS_ZERO))) > 0, mask)
        np.testing.assert_array_equal(read_levels(tiff(page(white - values, bits, WHITE_IS_ZERO))) > 0, mask)


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
    with pytest.raises(ImageError, match=r"got: a TIFF of 3 pages of 53 x 37 pixels\n  remedy: train with --page"):
        read_rgb(tiff(dark, light, light))


# --- what is refused


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (tiff(page(gray(scaled(8)), 8, BAYER)), r"a Bayer pattern\)\n  remedy: train with --channels bayer"),
        (tiff(page(gray(scaled(12)), 12, BAYER)), r"a Bayer pattern\)\n  remedy: train with --channels bayer"),
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
        (
            tiff(page(gray(scaled(12)), 12, BLACK_IS_ZERO, compression=34712)),
            "12-bit pixels in a TIFF with compression",
        ),
        (tiff(page(gray(scaled(12)), 12, BLACK_IS_ZERO, t317=2)), "12-bit pixels in a TIFF with"),
        (tiff(page(np.dstack([scaled(8)] * 3), 8, RGB, t338=[0] * 6)), "9 channels"),
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


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 50000])
def test_a_tile_that_claims_far_more_than_the_image_is_damage(compression):
    tags, strips = page(gray(scaled(12)), 12, BLACK_IS_ZERO, compression=compression)
    content = bytearray(tiff((tags | {322: [1 << 19], 323: [1 << 19], 324: [8], 325: [len(strips[0])]}, strips)))
    with pytest.raises(ImageError, match="damaged: strips or tiles of 524288 x 524288 pixels"):
        read_rgb(bytes(content))


@pytest.mark.parametrize("compression", [5, 8, 32773, 34925, 50000])
def test_a_strip_that_decompresses_to_more_than_its_pixels_is_cut_off(compression):
    tags, _ = page(gray(scaled(12)), 12, BLACK_IS_ZERO, compression=compression)
    slow = compression == 32773  # the encoder, not the decoder
    content = tiff((tags, [b"\x81\x00" * 400_000 if slow else COMPRESSED[compression](bytes(50_000_000))]))
    with suppress(ImageError):
        assert not read_rgb(content).any()


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
