"""Masks as other tools write them: used right where they are clear, else refused; and always noted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.data import load_mask, masks, read_mask
from clipada.errors import ImageError
from clipada.images import read_rgb
from clipada.types import Sample

SIZE = 64
TRUTH = np.zeros((SIZE, SIZE), bool)
TRUTH[20:41, 12:33] = True
TRUTH[5:8, 40:60] = True


def sample(*paths: Path) -> Sample:
    mask, more = (paths[0], paths[1:]) if paths else (None, ())
    return Sample(path=Path("part.png"), category="nut", split="test", defect="cut", mask=mask, more_masks=more)


def loaded(path: Path, image_size: tuple[int, int] = (SIZE, SIZE), size: int = SIZE) -> tuple[np.ndarray, list[str]]:
    """The mask at the model's input size, and what is noted about it."""
    notes: list[str] = []
    mask = load_mask(sample(path), size, image_size, lambda text, _: notes.append(text))
    assert mask is not None
    return mask, notes


def gray(values: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(values.astype(np.uint8))


def palette(*colors: tuple[int, int, int]) -> PIL.Image.Image:
    image = gray(TRUTH).convert("P")
    image.putpalette([value for color in colors for value in color])
    return image


def labels(*boxes: tuple[int, int], background: int = 0) -> np.ndarray:
    """Squares of 8 pixels, each of its own value, on a background: ``(place, value)``."""
    values = np.full((SIZE, SIZE), background)
    for place, value in boxes:
        values[10:18, place : place + 8] = value
    return values


# --- normal samples and samples without a mask


def test_masks_of_normal_and_of_unmarked_samples():
    normal = load_mask(Sample(path=Path("part.png"), category="nut", split="test"), 8, (3, 5))
    assert normal is not None
    assert (normal.dtype, normal.shape, normal.any()) == (np.bool_, (8, 8), np.False_)
    assert load_mask(sample(), 8, (3, 5)) is None


def test_an_empty_mask_of_an_anomalous_image_marks_no_normal_pixels(tmp_path):
    """Counted as normal, the pixels of the defect would punish the model that finds it."""
    gray(TRUTH * 0).save(tmp_path / "mask.png")
    notes: list[str] = []
    assert load_mask(sample(tmp_path / "mask.png"), 8, (SIZE, SIZE), lambda text, _: notes.append(text)) is None
    assert notes == [masks.EMPTY]


# --- values


@pytest.mark.parametrize(
    ("image", "notes"),
    [
        (gray(TRUTH * 255), []),
        (gray(TRUTH * 1), []),
        (gray(TRUTH * 236), []),
        (PIL.Image.fromarray(TRUTH), []),
        (PIL.Image.fromarray((TRUTH * 65535).astype(np.uint16)), []),
        (gray(np.stack([TRUTH * 255, TRUTH * 0, TRUTH * 0], axis=2)), []),
        (palette((0, 0, 0), (128, 0, 0)), []),
        (palette((0, 0, 0), (0, 0, 0)), []),
        (palette((255, 255, 255), (255, 0, 0)), []),
        (palette((255, 255, 255), (0, 0, 0)), [masks.INVERTED]),
        (gray(TRUTH + 1), [masks.NO_BLACK]),
        (gray(2 - TRUTH), [masks.NO_BLACK, masks.INVERTED]),
        (gray(~TRUTH * 255), [masks.INVERTED]),
        (gray(~TRUTH * 1), [masks.INVERTED]),
    ],
    ids=[
        "255", "0-1", "236", "1-bit", "16-bit", "color", "palette", "palette without colors", "palette on white",
        "palette inverted", "1-2", "2-1", "inverted", "inverted 0-1",
    ],
)  # fmt: skip
def test_two_values_are_told_apart_by_the_border(tmp_path, image, notes):
    image.save(tmp_path / "mask.png")
    mask, noted = loaded(tmp_path / "mask.png")
    np.testing.assert_array_equal(mask, TRUTH)
    assert noted == notes


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_masks_do_not_swell(tmp_path, quality, inverted):
    gray((TRUTH ^ inverted) * 255).save(tmp_path / "mask.jpg", quality=quality)
    mask, notes = loaded(tmp_path / "mask.jpg")
    assert np.count_nonzero(mask != TRUTH) <= 0.02 * np.count_nonzero(TRUTH)
    assert notes == [masks.SOFT, *([masks.INVERTED] if inverted else [])]


@pytest.mark.parametrize("inverted", [False, True])
def test_smooth_edges_are_cut_at_half_and_a_faint_thin_line_stays(tmp_path, inverted):
    values = np.zeros((SIZE, SIZE))
    values[20:40, 20:40] = 255
    values[19, 20:40], values[40, 20:40] = 100, 160
    values[50, 5:60] = 90
    gray(255 - values if inverted else values).save(tmp_path / "mask.png")
    mask, notes = loaded(tmp_path / "mask.png")
    expected = np.zeros((SIZE, SIZE), bool)
    expected[20:41, 20:40] = expected[50, 5:60] = True
    np.testing.assert_array_equal(mask, expected)
    assert notes[0] == masks.SOFT


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        (labels((4, 1), (20, 2), (40, 3)), [masks.LABELS]),
        (labels((4, 85), (20, 170), (40, 255)), [masks.LABELS]),
        (labels((4, 2), (20, 3), (40, 4), background=1), [masks.NO_BLACK, masks.LABELS]),
        (labels((4, 1), (20, 2), (40, 4), background=3), [masks.NO_BLACK, masks.LABELS, masks.INVERTED]),
    ],
    ids=["0-3", "gray", "1-4", "background 3"],
)
def test_each_label_of_a_defect_is_anomalous(tmp_path, values, notes):
    gray(values).save(tmp_path / "mask.png")
    mask, noted = loaded(tmp_path / "mask.png")
    np.testing.assert_array_equal(mask, labels((4, 1), (20, 1), (40, 1)) > 0)
    assert noted == notes


def half_marked() -> np.ndarray:
    values = np.zeros((SIZE, SIZE))
    values[:, :44] = 255
    return values


def part_and_defect() -> np.ndarray:
    values = np.zeros((SIZE, SIZE))
    values[4:60, 4:60] = 1
    values[20:30, 20:30] = 2
    return values


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.full((SIZE, SIZE), 255), "the value 255 everywhere"),
        (half_marked(), "69% of the area and 59% of the border marked"),
        (part_and_defect(), "3 labels, of which 0 covers less than half"),
        (np.add.outer(np.arange(SIZE), 2 * np.arange(SIZE)), "a picture: [0-9]+% of the pixels are neither"),
    ],
    ids=["full", "half", "part and defect", "picture"],
)
def test_masks_that_can_be_read_in_two_ways_are_refused(tmp_path, values, got):
    gray(values).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match=rf"mask .*mask\.png is not clear\n  expected: .*\n  got: {got}"):
        load_mask(sample(tmp_path / "mask.png"), SIZE, (SIZE, SIZE))


# --- sizes


def test_masks_are_resized_to_the_input(tmp_path):
    values = np.zeros((4, 8))
    values[:2, 4:] = 255
    gray(values).save(tmp_path / "mask.png")
    expected = np.zeros((16, 16), bool)
    expected[:8, 8:] = True
    np.testing.assert_array_equal(loaded(tmp_path / "mask.png", (8, 4), 16)[0], expected)
    notes: list[str] = []
    tall = load_mask(sample(tmp_path / "mask.png"), (8, 16), (8, 4), lambda text, _: notes.append(text))
    np.testing.assert_array_equal(tall, expected[::2])
    assert notes == []


@pytest.mark.parametrize("size", [(64, 64), (127, 128), (129, 128), (640, 640), (31, 32)])
def test_masks_of_another_size_with_the_image_s_aspect_ratio_are_scaled(tmp_path, size):
    gray(TRUTH * 255).save(tmp_path / "mask.png")
    mask, notes = loaded(tmp_path / "mask.png", size)
    np.testing.assert_array_equal(mask, TRUTH)
    assert notes == ([] if size == (SIZE, SIZE) else [masks.SCALED])


@pytest.mark.parametrize("size", [(4, 8), (17, 8), (8, 5), (9, 4)])
def test_masks_of_another_aspect_ratio_are_refused(tmp_path, size):
    gray(np.eye(4, 8) * 255).save(tmp_path / "mask.png")
    message = (
        rf"mask\.png does not match image part\.png\n"
        rf"  expected: {size[0]} x {size[1]} pixels, or the same aspect ratio\n  got: 8 x 4\n"
    )
    with pytest.raises(ImageError, match=message):
        load_mask(sample(tmp_path / "mask.png"), 16, size)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_of_images_with_an_exif_orientation(tmp_path, orientation):
    """A label tool that ignores the orientation draws on the stored pixels: clear where width and height differ."""
    stored = np.zeros((32, 48), np.uint8)
    stored[4:9, 6:30] = 255
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    part = tmp_path / "part.png"
    gray(stored).save(part, exif=exif)
    gray(stored).save(tmp_path / "mask.png")
    shown = read_rgb(part)
    height, width, _ = shown.shape
    notes: list[str] = []
    mask = read_mask([tmp_path / "mask.png"], part, (width, height), lambda text, _: notes.append(text))
    on_side = orientation >= 5
    np.testing.assert_array_equal(mask, (shown[..., 0] if on_side else stored) > 0)
    assert notes == [masks.TURNED if on_side else masks.NOT_TURNED]
    notes.clear()
    gray(stored).save(tmp_path / "mask.png", exif=exif)
    mask = read_mask([tmp_path / "mask.png"], part, (width, height), lambda text, _: notes.append(text))
    np.testing.assert_array_equal(mask, shown[..., 0] > 0)
    assert notes == []


# --- files


def test_several_masks_are_united_whatever_their_size(tmp_path):
    left, right = TRUTH.copy(), TRUTH.copy()
    left[:, 30:], right[:, :30] = False, False
    gray(left * 236).save(tmp_path / "000.png")
    gray(right * 240).resize((2 * SIZE, 2 * SIZE), PIL.Image.Resampling.NEAREST).save(tmp_path / "001.png")
    mask = read_mask([tmp_path / "000.png", tmp_path / "001.png"], Path("part.png"), (SIZE, SIZE))
    np.testing.assert_array_equal(mask, TRUTH)


def test_a_mask_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=re.escape("mask.png")):
        load_mask(sample(tmp_path / "mask.png"), 16, (8, 4))
