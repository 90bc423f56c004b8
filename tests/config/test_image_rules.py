"""Rules of reading: channels, pages and Bayer patterns, chosen once and applied to every file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from clipada.config import Config
from clipada.config.image_rules import ImageRules, rules_of
from clipada.errors import ConfigError, ImageError, ImageKindError
from clipada.images import find_depth, read_header, read_rgb
from file_kinds import png_of_16_bits
from test_images import encoded
from tiff_files import BAYER, BLACK_IS_ZERO, RGB, WIDTH, gray, page, picture, scaled, tiff

PATTERNS = ("rggb", "bggr", "grbg", "gbrg")


def channels(rule: str, **others: int) -> ImageRules:
    return ImageRules(channels=rule, **others)  # type: ignore[arg-type]


def in_one(image: np.ndarray, number: int) -> np.ndarray:
    return np.repeat(image[..., number - 1 : number], 3, axis=2)


# --- channels by number, and gray


@pytest.mark.parametrize("kind", ["png", "tiff", "16-bit png", "16-bit tiff", "16-bit planes"])
def test_channels_are_chosen_by_number_in_any_order(kind):
    full = picture().astype(np.uint16) * 257
    content = {
        "png": encoded(PIL.Image.fromarray(picture())),
        "tiff": tiff(page(scaled(8), 8, RGB)),
        "16-bit png": png_of_16_bits(full),
        "16-bit tiff": tiff(page(scaled(16), 16, RGB)),
        "16-bit planes": tiff(page(scaled(16), 16, RGB, planar=True)),
    }[kind]
    for rule, expected in {"2": in_one(picture(), 2), "3,1,2": picture()[..., [2, 0, 1]]}.items():
        assert np.abs(read_rgb(content, channels(rule)).astype(int) - expected).max() <= 1
    with pytest.raises(ImageError, match=r"expected: channel 4 .*3,4,1\)\n  got: an image of 3 channels\n  remedy"):
        read_rgb(content, channels("3,4,1"))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_a_multispectral_tiff_without_named_colors_is_read_by_numbers(bits, planar):
    bands = np.dstack([scaled(bits), 2**bits - 1 - scaled(bits), scaled(bits)[::-1]])
    content = tiff(page(bands, bits, BLACK_IS_ZERO, rows=8, planar=planar, t338=[0] * 8))
    shown = np.dstack([picture(), 255 - picture(), picture()[::-1]])
    with pytest.raises(ImageKindError, match="9 channels, and the file does not say"):
        read_rgb(content)
    assert np.abs(read_rgb(content, channels("9,4,1")).astype(int) - shown[..., [8, 3, 0]]).max() <= 1
    assert np.abs(read_rgb(content, channels("6")).astype(int) - in_one(shown, 6)).max() <= 1
    with pytest.raises(ImageError, match="got: an image of 9 channels"):
        read_rgb(content, channels("10"))


def test_the_channel_of_a_camera_of_12_bits_is_scaled_by_its_depth():
    values = scaled(12).astype(np.uint16)
    for content in (png_of_16_bits(values), tiff(page(values, 16, RGB))):
        assert np.abs(read_rgb(content, channels("3", depth=12)).astype(int) - in_one(picture(), 3)).max() <= 1


def test_a_gray_file_has_one_channel():
    content = encoded(PIL.Image.fromarray(picture()[..., 0]))
    np.testing.assert_array_equal(read_rgb(content, channels("1")), in_one(picture(), 1))
    with pytest.raises(ImageError, match="got: an image of 1 channel\n"):
        read_rgb(content, channels("2"))


def test_gray_is_the_luminance_and_leaves_gray_as_it_is():
    expected = np.rint(picture() @ np.array([0.299, 0.587, 0.114]))
    read = read_rgb(encoded(PIL.Image.fromarray(picture())), channels("gray"))
    assert np.abs(read - expected[..., None]).max() <= 1
    alone = encoded(PIL.Image.fromarray(picture()[..., 0]))
    np.testing.assert_array_equal(read_rgb(alone, channels("gray")), read_rgb(alone))


# --- pages


def test_a_page_is_chosen_by_number(tmp_path: Path):
    pages = [page(gray(scaled(8)) // part, 8, BLACK_IS_ZERO) for part in (1, 2, 4)]
    content = tiff(*pages)
    for number, part in enumerate((1, 2, 4), start=1):
        np.testing.assert_array_equal(read_rgb(content, ImageRules(page=number)), in_one(picture() // part, 1))
    with pytest.raises(ImageError, match=r"expected: page 4 .*\n  got: a file of 3 pages\n  remedy: .*--page"):
        read_rgb(content, ImageRules(page=4))
    assert read_header(content).width == WIDTH  # the server reads headers before it knows which page counts


def test_files_of_one_page_have_only_the_first():
    content = encoded(PIL.Image.fromarray(picture()))
    np.testing.assert_array_equal(read_rgb(content, ImageRules(page=1)), picture())
    with pytest.raises(ImageError, match="got: a file of 1 page\n"):
        read_rgb(content, ImageRules(page=2))


def test_the_depth_is_measured_on_the_chosen_page_and_channel(tmp_path: Path):
    path = tmp_path / "two.tif"
    path.write_bytes(tiff(page(gray(scaled(10)), 16, BLACK_IS_ZERO), page(gray(scaled(14)), 16, BLACK_IS_ZERO)))
    assert [find_depth([path], rules=ImageRules(page=number)) for number in (1, 2)] == [10, 14]
    path.write_bytes(tiff(page(np.dstack([gray(scaled(12)), gray(scaled(16)), gray(scaled(8))]), 16, RGB)))
    assert [find_depth([path], rules=channels(rule)) for rule in ("1", "2", "3")] == [12, 16, 8]


# --- Bayer patterns


def bilinear(values: np.ndarray, pattern: str) -> np.ndarray:
    """Interpolate each color from its own pixels, as a weighted mean over 3 x 3 of them."""
    rows, columns = np.indices(values.shape) % 2
    sites = np.array(list(pattern))[2 * rows + columns]
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], float)
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], float)
    found = []
    for color in "rgb":
        own = (sites == color).astype(float)
        weights = cross if color == "g" else kernel
        total = ndimage.convolve(own * values, weights, mode="mirror")
        found.append(np.where(own > 0, values, total / ndimage.convolve(own, weights, mode="mirror")))
    return np.dstack(found)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_demosaicing_agrees_with_a_weighted_mean_of_each_colors_pixels(pattern):
    values = np.random.default_rng(3).integers(0, 256, (1031, 7), np.uint8)  # more rows than are done at a time
    read = read_rgb(encoded(PIL.Image.fromarray(values)), channels(f"bayer-{pattern}"))
    assert np.abs(read - bilinear(values, pattern)).max() <= 0.5


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_sensors_values_in_a_tiff_become_colors(pattern, bits):
    rows, columns = np.indices(picture().shape[:2]) % 2
    color = np.array(["rgb".index(one) for one in pattern])[2 * rows + columns]
    values = np.take_along_axis(scaled(bits), color[..., None], axis=2)
    marked = tiff(page(values, bits, BAYER))
    plain = tiff(page(values, bits, BLACK_IS_ZERO))
    read = read_rgb(marked, channels(f"bayer-{pattern}"))
    assert np.abs(read[1:-1, 1:-1].astype(int) - picture()[1:-1, 1:-1]).max() <= 1  # the picture is a ramp
    np.testing.assert_array_equal(read_rgb(plain, channels(f"bayer-{pattern}")), read)


def test_raw_values_of_12_bits_in_16_are_scaled_by_their_depth():
    values = np.full((6, 8), 4095, np.uint16)
    read = read_rgb(encoded(PIL.Image.fromarray(values)), channels("bayer-rggb", depth=12))
    assert (read == 255).all()


def test_colors_are_no_raw_values():
    with pytest.raises(
        ImageError, match="one value a pixel, of a sensor with the pattern rggb\n  got: an image of mode"
    ):
        read_rgb(encoded(PIL.Image.fromarray(picture())), channels("bayer-rggb"))
    with pytest.raises(ImageError, match="2 x 2 pixels or more"):
        read_rgb(encoded(PIL.Image.fromarray(np.zeros((1, 9), np.uint8))), channels("bayer-rggb"))


# --- settings


@pytest.mark.parametrize("rule", ["", "red", "0", "1,2", "1,2,3,4", "1,,2", "-1", "1000", "bayer-rgbg", "²"])
def test_unknown_rules_are_refused(rule):
    with pytest.raises(ConfigError, match=r"setting model.image_channels is out of range\n  expected: rgb, gray, "):
        Config().updated({"model.image_channels": rule})


def test_settings_make_the_rules_and_an_engine_may_state_a_depth_alone():
    config = Config().updated({"model.image_channels": "3,2,1", "model.image_page": "2", "model.image_depth": 12})
    assert config.model.rules == ImageRules(channels="3,2,1", page=2, depth=12)
    assert Config().model.reading(config.model.rules).rules == config.model.rules
    for name, value in {"model.image_page": 0, "model.image_depth": 7}.items():
        with pytest.raises(ConfigError, match=f"setting {name} is out of range"):
            Config().updated({name: value})

    class Own:
        depth = 12

    assert rules_of(Own()) == ImageRules(depth=12)
