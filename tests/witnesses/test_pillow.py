"""Augmenters and resized masks against Pillow, and hues against colorsys."""

from __future__ import annotations

import colorsys

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import torch
from PIL import Image

from clipada.images import (
    resize_mask,
)
from clipada.synthesis import augmenters
from drawn import as_images, seeded, smooth_levels


@pytest.fixture
def levels() -> np.ndarray:
    return smooth_levels()


@pytest.fixture
def images(levels: np.ndarray) -> torch.Tensor:
    return as_images(levels)


def as_levels(images: torch.Tensor) -> np.ndarray:
    return (images * 255).round().permute(0, 2, 3, 1).numpy().astype(int)


def pillow(levels: np.ndarray, change) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(each))).astype(int) for each in levels])


def test_equalize_is_pillows(levels, images):
    np.testing.assert_array_equal(as_levels(augmenters.equalize(images)), pillow(levels, PIL.ImageOps.equalize))


def test_equalize_counts_every_level_where_it_is():
    levels = np.arange(256, dtype=np.uint8).repeat(12).reshape(1, 32, 96, 1).repeat(3, axis=3)
    images = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_array_equal(as_levels(augmenters.equalize(images)), pillow(levels, PIL.ImageOps.equalize))


def test_autocontrast_is_pillows_up_to_its_cutting_of_fractions(levels, images):
    expected = pillow(levels, PIL.ImageOps.autocontrast)
    assert np.abs(as_levels(augmenters.autocontrast(images)) - expected).max() <= 1


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_pillows(levels, images, bits):
    posterized = augmenters.posterize(images, torch.full((4, 1, 1, 1), bits))
    np.testing.assert_array_equal(as_levels(posterized), pillow(levels, lambda i: PIL.ImageOps.posterize(i, bits)))


@pytest.mark.parametrize("threshold", [32, 90, 128])
def test_solarize_is_pillows(levels, images, threshold):
    solarized = augmenters.solarize(images, torch.full((4, 1, 1, 1), threshold / 255))
    expected = pillow(levels, lambda i: PIL.ImageOps.solarize(i, threshold))
    np.testing.assert_array_equal(as_levels(solarized), expected)


def test_invert_is_pillows(levels, images):
    np.testing.assert_array_equal(as_levels(augmenters.invert(images)), pillow(levels, PIL.ImageOps.invert))


def test_random_sharpness_is_pillows_for_some_factor_of_its_range(levels, images):
    changed = as_levels(augmenters.random_sharpness(images, seeded()))
    factors = np.linspace(0, 3, 61)
    for n in range(4):
        candidates = [PIL.ImageEnhance.Sharpness(Image.fromarray(levels[n])).enhance(f) for f in factors]
        errors = [np.abs(np.asarray(c).astype(int) - changed[n]).max() for c in candidates]
        assert min(errors) <= 2  # half a level each of the filter and the blend, and the factor's grid


def test_hue_and_saturation_are_colorsys_within_1e_5(images):
    hue, saturation = torch.tensor([0.3, -0.19, 0.05, 0.5]), torch.tensor([0.2, -0.15, 0.0, 0.1])
    shifted = augmenters.shift_hue_saturation(images, hue, saturation)
    for n in range(4):
        for y, x in ((0, 0), (5, 7), (23, 30), (11, 2)):
            h, s, v = colorsys.rgb_to_hsv(*images[n, :, y, x].double().tolist())
            expected = colorsys.hsv_to_rgb((h + hue[n].item()) % 1, min(max(s + saturation[n].item(), 0), 1), v)
            np.testing.assert_allclose(shifted[n, :, y, x], expected, atol=1e-5)


def test_masks_are_resized_as_pillow_averages_boxes():
    mask = np.zeros((96, 128), bool)
    mask[10:50, 21:90] = True
    mask[60:91, 70:75] = True
    pillow = PIL.Image.fromarray(mask.astype(np.float32)).resize((64, 48), PIL.Image.Resampling.BOX)
    np.testing.assert_array_equal(resize_mask(mask, (48, 64)), np.asarray(pillow) >= 0.5)
