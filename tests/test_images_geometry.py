"""Masks, resized images and maps, and written files."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clipada.errors import ImageError
from clipada.images import (
    read_levels,
    resize,
    resize_mask,
    restore_map,
    write_png,
)
from command_line import noise

sides = st.integers(1, 70)


@pytest.mark.parametrize(
    ("image", "levels"),
    [
        (PIL.Image.fromarray(np.array([[0, 255, 1]], np.uint8)), [0, 255, 1]),
        (PIL.Image.fromarray(np.array([[False, True, True]])), [0, 255, 255]),
        (PIL.Image.fromarray(np.array([[0, 65535, 1]], np.uint16)), [0, 65535, 1]),
        (PIL.Image.fromarray(np.array([[[0, 0, 0], [0, 0, 9], [255, 0, 0]]], np.uint8)), [0, 9, 255]),
        (PIL.Image.fromarray(np.array([[[0, 0, 0, 255], [9, 0, 0, 255], [90, 0, 0, 255]]], np.uint8)), [0, 9, 90]),
        (PIL.Image.fromarray(np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [9, 9, 9, 255]]], np.uint8)), [0, 255, 9]),
    ],
    ids=["gray", "1-bit", "16-bit", "rgb", "rgba", "transparent"],
)
def test_levels_are_gray_or_the_brightest_color(tmp_path, image, levels):
    image.save(tmp_path / "mask.png")
    assert read_levels(tmp_path / "mask.png").tolist() == [levels]


def save_palette(path, colors):
    palette = PIL.Image.frombytes("P", (3, 1), bytes([2, 0, 1]))
    palette.putpalette([value for color in colors for value in color])
    palette.save(path)


def test_palette_masks_go_by_color(tmp_path):
    save_palette(tmp_path / "mask.png", [(255, 0, 0), (0, 128, 0), (0, 0, 0)])
    assert read_levels(tmp_path / "mask.png").tolist() == [[0, 255, 128]]


@pytest.mark.parametrize("colors", [[(0, 0, 0)] * 3, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]], ids=["none", "VOC"])
def test_palette_masks_whose_colors_are_equally_bright_go_by_label(tmp_path, colors):
    save_palette(tmp_path / "mask.png", colors)
    assert read_levels(tmp_path / "mask.png").tolist() == [[2, 0, 1]]


def test_float_masks_are_read(tmp_path):
    PIL.Image.fromarray(np.array([[0, 0.25]], np.float32)).save(tmp_path / "mask.tif")
    assert read_levels(tmp_path / "mask.tif").tolist() == [[0, 0.25]]


def test_missing_mask_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match=r"mask\.png"):
        read_levels(tmp_path / "mask.png")


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides, value=st.integers(0, 255))
def test_resize_has_the_shape_and_keeps_constants(height, width, new_height, new_width, value):
    resized = resize(np.full((height, width, 3), value, np.uint8), (new_height, new_width))
    assert resized.dtype == np.uint8
    assert resized.shape == (new_height, new_width, 3)
    assert (resized == value).all()


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(resize(noise(5, 7), (5, 7)), noise(5, 7))


def test_resize_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = resize(stripes, (8, 8))[:, 1:-1]
    assert np.abs(inner.astype(int) - 127.5).max() < 8


@settings(max_examples=80, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides, seed=st.integers(0, 99))
def test_restored_maps_have_the_shape_and_stay_in_range(height, width, new_height, new_width, seed):
    anomaly_map = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    restored = restore_map(anomaly_map, (new_height, new_width))
    assert restored.dtype == np.float32
    assert restored.shape == (new_height, new_width)
    assert anomaly_map.min() <= restored.min()
    assert restored.max() <= anomaly_map.max()


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides, value=st.floats(0, 1, width=32))
@example(height=16, width=16, new_height=67, new_width=1, value=0.1)
def test_constant_maps_stay_constant(height, width, new_height, new_width, value):
    restored = restore_map(np.full((height, width), value, np.float32), (new_height, new_width))
    assert (restored == np.float32(value)).all()


def center(values: np.ndarray) -> np.ndarray:
    """Center of mass in pixels, the first pixel's center at 0.5."""
    y, x = np.indices(values.shape) + 0.5
    return np.array([(y * values).sum(), (x * values).sum()]) / values.sum()


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(120, 301), st.integers(120, 301)),
    at=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
)
def test_a_blob_returns_to_its_place(size, at):
    y, x = np.indices((64, 64)) + 0.5
    blob = np.exp(-((y - 64 * at[0]) ** 2 + (x - 64 * at[1]) ** 2) / (2 * 3.0**2)).astype(np.float32)
    assert np.abs(center(restore_map(blob, size)) - np.multiply(at, size)).max() < 1


def shares(mask, size):
    """Share of each new pixel that is true, exactly: every old and new pixel is cut into whole parts."""
    (height, width), (rows, columns) = mask.shape, size
    cut = np.repeat(np.repeat(mask, rows, axis=0), columns, axis=1)
    return cut.reshape(rows, height, columns, width).sum(axis=(1, 3)) / (height * width)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides, seed=st.integers(0, 99))
def test_masks_are_resized_by_area_and_no_region_vanishes(height, width, new_height, new_width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.05
    size = (new_height, new_width)
    resized, share = resize_mask(mask, size), shares(mask, size)
    assert resized.dtype == np.bool_
    assert resized[share >= 0.5].all()
    assert not resized[share == 0].any()
    regions, count = ndimage.label(share > 0, np.ones((3, 3)))
    for region in range(1, count + 1):
        inside = regions == region
        thick = share[inside].max() >= 0.5
        assert resized[inside].tolist() == (share[inside] >= (0.5 if thick else share[inside].max() / 2)).tolist()
        assert resized[inside].any()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_thin_scratch_stays_one_line(width):
    mask = np.zeros((2048, 2048), bool)
    for step in range(1500):
        mask[200 + step, 300 + step // 3 : 300 + step // 3 + width] = True
    resized = resize_mask(mask, (256, 256))
    assert ndimage.label(resized, np.ones((3, 3)))[1] == 1
    assert np.ptp(np.nonzero(resized)[0]) > 180


def test_a_pinhole_stays():
    mask = np.zeros((2048, 2048), bool)
    mask[1001, 999] = True
    assert np.argwhere(resize_mask(mask, (256, 256))).tolist() == [[125, 124]]


@pytest.mark.parametrize(
    "array",
    [noise(5, 7), noise(5, 7)[..., 0], np.array([[0, 1, 65535]], np.uint16)],
    ids=["rgb", "gray", "16-bit"],
)
def test_written_files_come_back(tmp_path, array):
    write_png(tmp_path / "new" / "out.png", array)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.png"]
    with PIL.Image.open(tmp_path / "new" / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image), array)
        assert np.asarray(image).dtype == array.dtype


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 3), np.uint16),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((0, 2), "u1"),
    ],
)
def test_other_arrays_are_not_written(tmp_path, array):
    with pytest.raises(ImageError, match="uint8 of shape") as refusal:
        write_png(tmp_path / "out.png", array)
    assert refusal.value.got == f"{array.dtype} of shape {array.shape}"
    assert list(tmp_path.iterdir()) == []


def test_large_images_and_maps_are_resized_in_bands_as_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    photo, small = rng.integers(0, 256, (700, 900, 3), dtype=np.uint8), rng.random((90, 130), dtype=np.float32)

    def resized():
        return resize(photo, (64, 96)), resize(photo, (800, 1000)), restore_map(small, (700, 911))

    once = resized()
    monkeypatch.setattr("clipada.images.geometry.BAND_PIXELS", 20_000)
    for one, other in zip(once, resized(), strict=True):
        assert np.abs(one.astype(float) - other).max() <= (1e-6 if one.dtype == np.float32 else 0)
