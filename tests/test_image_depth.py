"""A camera's 8 to 14 bits in 16-bit files: found from the training images, and applied to every later one."""

from __future__ import annotations

import logging
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError
from clipada.images import depth as depth_module
from clipada.images import find_depth, read_rgb
from file_kinds import encoded, png_of_16_bits
from tiff_files import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, gray, page, picture, scaled, tiff

CAMERAS = (8, 10, 12, 14)


@pytest.fixture(autouse=True)
def _first_warnings(monkeypatch):
    """Count the warnings of each test from the start, and let pytest see them."""
    monkeypatch.setattr(depth_module, "_counts", type(depth_module._counts)(depth_module._counts.default_factory))
    monkeypatch.setattr(logging.getLogger("clipada"), "propagate", True)


def files(bits: int) -> dict[str, tuple[bytes, np.ndarray]]:
    """The picture as a camera of some bits writes it into 16-bit files of every kind, and how it is to be read."""
    color, one = scaled(bits), gray(scaled(bits))
    opaque = np.full_like(one, 65535)
    return {
        "gray.png": (encoded(PIL.Image.fromarray(one[..., 0].astype(np.uint16))), gray(picture())),
        "gray.tif": (tiff(page(one, 16, BLACK_IS_ZERO, rows=7)), gray(picture())),
        "gray-mm.tif": (tiff(page(one, 16, BLACK_IS_ZERO, order=">"), order=">"), gray(picture())),
        "gray-lzw.tif": (tiff(page(one, 16, BLACK_IS_ZERO, compression=5)), gray(picture())),
        "gray-32.tif": (tiff(page(one, 32, BLACK_IS_ZERO)), gray(picture())),
        "negative.tif": (tiff(page(2**bits - 1 - one, 16, WHITE_IS_ZERO)), gray(picture())),
        "rgb.png": (png_of_16_bits(color), picture()),
        "rgba.png": (png_of_16_bits(np.dstack([color, opaque])), picture()),
        "gray-alpha.png": (png_of_16_bits(np.dstack([one, opaque])), gray(picture())),
        "rgb.tif": (tiff(page(color, 16, RGB, rows=7)), picture()),
        "rgb-mm.tif": (tiff(page(color, 16, RGB, order=">"), order=">"), picture()),
        "rgb-lzw.tif": (tiff(page(color, 16, RGB, compression=5, predictor=2)), picture()),
        "rgb-packbits-mm.tif": (tiff(page(color, 16, RGB, compression=32773, order=">"), order=">"), picture()),
        "rgb-planes.tif": (tiff(page(color, 16, RGB, planar=True)), picture()),
        "rgb-planes-lzw.tif": (tiff(page(color, 16, RGB, planar=True, compression=5)), picture()),
        "rgb-alpha.tif": (tiff(page(np.dstack([color, opaque]), 16, RGB, t338=2)), picture()),
        "rgb-infrared.tif": (tiff(page(np.dstack([color, one]), 16, RGB, t338=0)), picture()),
    }


@pytest.mark.parametrize("bits", CAMERAS)
@pytest.mark.parametrize("name", files(12))
def test_every_kind_of_16_bit_file_is_measured_and_read_right(tmp_path, caplog, name, bits):
    content, expected = files(bits)[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert find_depth([path]) == bits
    assert np.abs(read_rgb(path, ImageRules(depth=bits)).astype(int) - expected).max() <= 1
    assert not caplog.records


def write(folder: Path, **images: np.ndarray | bytes) -> list[Path]:
    paths = [folder / f"{name}.png" for name in images]
    for path, image in zip(paths, images.values(), strict=True):
        path.write_bytes(image if isinstance(image, bytes) else png_of_16_bits(image))
    return paths


def ramp(bits: int, share: float = 1.0) -> np.ndarray:
    """Gray values that use a share of the range of some bits."""
    return np.linspace(0, (2**bits - 1) * share, 4096).astype(np.uint16).reshape(64, 64)


def test_the_depth_is_found_over_all_images_in_spite_of_broken_pixels_and_dark_parts(tmp_path):
    hot, dark, black = ramp(12), ramp(12, 0.1), ramp(12, 0)
    hot[5, 5] = 60000
    eight_bits = encoded(PIL.Image.fromarray(np.full((64, 64), 200, np.uint8)))
    paths = write(tmp_path, hot=hot, dark=dark, black=black, eight=eight_bits, damaged=b"no image")
    assert find_depth(paths) == 12
    assert find_depth(paths[1:]) == 10
    assert find_depth(paths[2:]) == 16  # a black image says nothing
    assert find_depth(paths[3:]) is None
    assert find_depth([]) is None
    assert find_depth([*paths, *write(tmp_path, full=ramp(16))]) == 16


@pytest.mark.parametrize(("largest", "depth"), [(4095, 12), (16383, 14), (4000, 8), (65535, 8), (0, 8)])
def test_the_depth_that_a_file_states_counts_more_than_its_values(tmp_path, largest, depth):
    path = tmp_path / "dark.tif"
    path.write_bytes(tiff(page(gray(scaled(8)), 16, BLACK_IS_ZERO, t281=largest)))
    assert find_depth([path]) == depth


def test_files_that_state_fewer_bits_are_not_scaled_again():
    assert np.abs(read_rgb(tiff(page(scaled(12), 12, RGB)), ImageRules(depth=12)).astype(int) - picture()).max() <= 1
    assert (
        np.abs(read_rgb(tiff(page(gray(scaled(14)), 14, 1)), ImageRules(depth=12)).astype(int) - gray(picture())).max()
        <= 1
    )
    np.testing.assert_array_equal(read_rgb(encoded(PIL.Image.fromarray(picture())), ImageRules(depth=12)), picture())


@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
def test_an_image_beyond_the_depth_is_warned_of_and_far_beyond_refused(caplog, color):
    def png(values: np.ndarray) -> bytes:
        return png_of_16_bits(np.dstack([values] * 3) if color else values)

    some = ramp(12)
    some[:8] = 5000  # an eighth of the pixels
    assert read_rgb(png(some), ImageRules(depth=12))[0, 0].tolist() == [255] * 3
    assert "exceeds the 12 bits of the training images: 12.5 % of its pixels are cut off" in caplog.text
    with pytest.raises(
        ImageError, match=r"values of 12 bits, as the run recorded\n  got: larger values in 94 %.*\n  re"
    ):
        read_rgb(png(ramp(16)), ImageRules(depth=12))


@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
@pytest.mark.parametrize(("depth", "bits"), [(12, 10), (14, 12), (16, 14), (None, 12), (10, 8)])
def test_an_image_much_darker_than_the_depth_is_warned_of(caplog, color, depth, bits):
    values = ramp(bits)
    content = png_of_16_bits(np.dstack([values] * 3) if color else values)
    read_rgb(content, ImageRules(depth=depth))
    assert f"is read as dark: it {'uses' if depth not in (None, 16) else 'is 16-bit, but uses'} only the" in caplog.text
    assert f"lowest {bits} " in caplog.text


def test_the_first_tenth_and_hundredth_image_are_named(caplog):
    content = png_of_16_bits(ramp(12))
    for _ in range(120):
        read_rgb(content)
    assert [record.getMessage().partition("\n  remedy")[0] for record in caplog.records] == [
        f"image of {len(content)} bytes is read as dark: it is 16-bit, but uses only the lowest 12 bits, as from a "
        "12-bit camera"
    ] * 3
    assert [
        record.getMessage().endswith(f"{count} such images so far")
        for count, record in zip((10, 100), caplog.records[1:], strict=True)
    ] == [True] * 2


def test_16_bits_recorded_are_read_as_without_a_record():
    for content, _ in files(16).values():
        np.testing.assert_array_equal(read_rgb(content, ImageRules(depth=16)), read_rgb(content))


def test_premultiplied_colors_without_their_lower_bits_are_refused():
    content = tiff(page(np.dstack([scaled(12), gray(scaled(12))]), 16, RGB, t338=1))
    with pytest.raises(ImageError, match="only the upper 8 bits can be decoded"):
        read_rgb(content, ImageRules(depth=12))


def test_encoders_agree():
    """The files of these tests are those that other programs write."""
    values = scaled(12).astype(np.uint16)
    written = imagecodecs.png_encode(values)
    np.testing.assert_array_equal(
        read_rgb(written, ImageRules(depth=12)), read_rgb(png_of_16_bits(values), ImageRules(depth=12))
    )
