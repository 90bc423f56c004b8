"""Augmenters against closed forms, and the ranges of their random parameters."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from clipada.synthesis import AUGMENTERS, augment, augmenters
from clipada.synthesis.affine import rotate
from drawn import as_images, seeded, smooth_levels

LEVEL = 1 / 255


@pytest.fixture
def levels() -> np.ndarray:
    return smooth_levels()


@pytest.fixture
def images(levels: np.ndarray) -> torch.Tensor:
    return as_images(levels)


@pytest.mark.parametrize("augmenter", [augmenters.autocontrast, augmenters.equalize])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_stretching_leaves_a_flat_image(augmenter, value):
    flat = torch.full((1, 3, 8, 8), round(value * 255) / 255)
    torch.testing.assert_close(augmenter(flat), flat)


def test_brightness_multiplies_then_adds(images):
    changed = augmenters.change_brightness(images, torch.tensor(1.2), torch.tensor(-30 * LEVEL))
    np.testing.assert_allclose(changed, np.clip(1.2 * images.numpy() - 30 / 255, 0, 1), atol=1e-6)


def test_random_gamma_is_a_power_of_each_channel(images):
    many = images[:1].repeat(300, 1, 1, 1)
    changed = augmenters.random_gamma(many, seeded())
    exponents = changed[:, :, 3, 4].log() / many[:, :, 3, 4].log()
    torch.testing.assert_close(changed, many ** exponents[:, :, None, None], atol=1e-5, rtol=0)
    assert_spans(exponents, 0.5, 2)
    assert (exponents[:, 0] - exponents[:, 1]).abs().min() > 0


def assert_spans(values: torch.Tensor, low: float, high: float) -> None:
    """All within, and 1 % of the range from either end reached at least within 5 %."""
    margin = 0.05 * (high - low)
    assert low - 1e-3 <= values.min() < low + margin
    assert high - margin < values.max() <= high + 1e-3


def test_random_parameters_span_their_ranges():
    gray = torch.full((400, 3, 4, 4), 0.5)
    pair = torch.cat((gray, gray + 0.1), dim=3)
    bright = augmenters.random_brightness(pair, seeded())[:, 0, 0]
    factor = (bright[:, -1] - bright[:, 0]) / 0.1
    assert_spans(factor, 0.8, 1.2)
    assert_spans((bright[:, 0] - 0.5 * factor) * 255, -30, 30)
    ramp = torch.linspace(0, 1, 256).expand(400, 3, 1, 256)
    solarized = augmenters.random_solarize(ramp, seeded())[:, 0, 0]
    changed = (solarized != ramp[:, 0, 0])[:, :200]
    hit = changed.any(dim=1)
    assert 150 < hit.sum() < 250
    assert_spans(changed[hit].int().argmax(dim=1).float(), 32, 129)
    counts = torch.tensor([len(each.unique()) for each in augmenters.random_posterize(ramp, seeded())])
    assert set(counts.tolist()) == {2**bits for bits in range(1, 9)}


def test_random_hue_and_saturation_span_their_ranges():
    red = torch.tensor([0.8, 0.4, 0.4])[None, :, None, None].expand(400, 3, 1, 1)
    changed = augmenters.random_hue_saturation(red, seeded())
    hsv = torch.tensor([colorsys.rgb_to_hsv(*pixel.flatten().tolist()) for pixel in changed])
    turns = torch.where(hsv[:, 0] > 0.5, hsv[:, 0] - 1, hsv[:, 0])
    assert_spans(turns * 255, -50, 50)
    assert_spans((hsv[:, 1] - 0.5) * 255, -50, 50)


def test_a_quarter_turn_moves_every_pixel_and_leaves_zeros_outside():
    images = torch.rand(2, 3, 9, 9, generator=seeded())
    turned = rotate(images, torch.tensor([90.0, -90.0]))
    torch.testing.assert_close(turned[0], images[0].rot90(1, (1, 2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned[1], images[1].rot90(-1, (1, 2)), atol=1e-4, rtol=0)
    corner = rotate(torch.ones(1, 3, 64, 96), torch.tensor([30.0]))[0, :, 0, 0]
    assert (corner == 0).all()


def test_random_rotation_stays_within_45_degrees():
    line = torch.zeros(200, 3, 65, 65)
    line[:, :, 32, 48] = 1  # a dot to the right of the center
    turned = augmenters.random_rotation(line, seeded())[:, 0]
    y, x = (torch.arange(65.0) - 32 for _ in range(2))
    mass = turned.sum((1, 2))
    angle = torch.atan2(
        (turned.sum(2) * y).sum(1) / mass,
        (turned.sum(1) * x).sum(1) / mass,
    ).rad2deg()
    assert -46 < angle.min() < -40
    assert 40 < angle.max() < 46


@pytest.mark.parametrize("name", AUGMENTERS)
def test_each_keeps_shape_and_range_and_leaves_its_input(name):
    images = torch.rand(5, 3, 17, 23, generator=seeded())
    images[0] = 0
    images[1] = 1
    before = images.clone()
    changed = AUGMENTERS[name](images, seeded())
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_each_image_meets_exactly_the_asked_number_of_distinct_augmenters(monkeypatch):
    bits = {}
    for number, name in enumerate(augmenters.AUGMENTERS):
        bits[name] = lambda images, _, number=number: images + 2.0**number
    monkeypatch.setattr(augmenters, "AUGMENTERS", bits)
    for count in (0, 1, 3, 10):
        sums = torch.cat(augment(torch.zeros(500, 3, 1, 1), count, seeded()))[:, 0, 0, 0].long()
        met = (sums[:, None] >> torch.arange(10)) & 1
        # One repeated would carry into another's bit or change the number of bits set.
        assert (met.sum(dim=1) == count).all()
        assert (met.float().mean(dim=0) - count / 10).abs().max() < 0.1


def test_order_is_random_and_without_repeats():
    order = augmenters.draw_order(4000, 3, seeded())
    assert (order.sort(dim=1).values.diff(dim=1) > 0).all()
    for place in range(3):
        share = order[:, place].bincount(minlength=10) / 4000
        assert (share - 0.1).abs().max() < 0.025  # five standard deviations


def test_same_seed_same_images_and_input_untouched():
    images = torch.rand(6, 3, 20, 20, generator=seeded())
    before = images.clone()
    first, again, other = (torch.cat(augment(images, 3, seeded(s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
