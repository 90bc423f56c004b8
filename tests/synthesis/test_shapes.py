"""Shapes of anomalies: sizes, places, borders."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from clipada.synthesis.patches import motions
from clipada.synthesis.shapes import MOST_PATCHES, blob, draw_length, line, perlin_area, place, region, smooth_noise


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_lengths_are_within_their_limits_and_as_often_short_as_long():
    rng = seeded()
    lengths = np.array([draw_length(2, 50, rng) for _ in range(1000)])
    assert ((lengths >= 2) & (lengths <= 50)).all()
    assert 0.4 < (lengths < 10).mean() < 0.6


def test_places_are_mostly_on_the_part():
    image = np.zeros((3, 100, 160))
    image[:, 40:60, 100:130] = seeded().random((20, 30))
    rng = seeded(1)
    rows, columns = np.array([place(image, rng) for _ in range(400)]).T
    near = (abs(rows - 50) < 30) & (abs(columns - 115) < 35)
    assert 0.6 < near.mean() < 0.9
    assert rows.max() > 90
    assert columns.min() < 16


def test_a_blob_is_as_large_as_its_radius():
    areas = [blob((60, 80), 12, (120, 160), seeded(seed)).sum() for seed in range(30)]
    assert 0.4 * math.pi * 12**2 < np.mean(areas) < math.pi * 12**2
    assert np.std(areas) > 10


def test_a_line_is_as_long_and_as_wide_as_asked():
    for seed in range(10):
        covered = line((100, 150), 60, 3, (200, 300), seeded(seed))
        assert 0 <= covered.min() <= covered.max() == 1
        assert 0.7 * 60 * 3 < covered.sum() < 1.4 * 60 * 3
        assert label(covered > 0, np.ones((3, 3)))[1] == 1


def test_a_line_outside_the_image_covers_nothing():
    assert not line((-500, 20), 30, 3, (40, 50), seeded()).any()


def test_regions_have_the_size_of_the_image_and_are_seldom_empty():
    image = np.zeros((3, 50, 30))
    rng = seeded()
    regions = np.stack([region(image, rng) for _ in range(200)])
    assert regions.shape[1:] == (50, 30)
    assert regions.any((1, 2)).mean() > 0.95


def test_a_perlin_area_has_few_patches():
    areas = [perlin_area((64, 96), seeded(seed)) for seed in range(20)]
    assert all(1 <= label(area)[1] <= MOST_PATCHES for area in areas)


def test_smooth_noise_has_deviation_1_at_any_size():
    assert smooth_noise((40, 70), 3, seeded()).std() == pytest.approx(1)
    assert np.isfinite(smooth_noise((1, 1), 3, seeded())).all()


def test_motions_keep_shapes_in_images_that_are_not_square():
    height, width = 60, 90
    one = torch.ones(1)
    theta = motions(0.7 * one, 0.8 * one, -one, torch.zeros(1, 2), aspect=height / width)[0, :, :2].double()
    to_pixels = torch.diag(torch.tensor([width, height], dtype=torch.double))
    in_pixels = to_pixels @ theta @ to_pixels.inverse()
    torch.testing.assert_close(in_pixels @ in_pixels.mT, 0.8**2 * torch.eye(2).double(), atol=1e-6, rtol=0)
