"""Scores and regions against plain references, on odd sizes too."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clipada.config import ScoringConfig
from clipada.errors import ClipAdaError
from clipada.scoring import (
    anomaly_map,
    append_fused_map,
    final_map,
    find_regions,
    image_score,
    map_statistics,
    score_passes,
    smooth,
    top_pixel_count,
)

SHAPES = st.tuples(st.integers(1, 23), st.integers(1, 23))
VALUES = st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
MAPS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=VALUES))
SIGMAS = st.floats(0, 6)
F32 = 1e-5  # a few float32 roundings of values up to 1


@settings(deadline=None)
@given(MAPS, SIGMAS)
def test_smoothing_keeps_shape_range_and_total(raw, sigma):
    smoothed = smooth(raw, sigma)
    assert smoothed.shape == raw.shape
    assert smoothed.dtype == np.float32
    assert raw.min() - F32 <= smoothed.min() <= smoothed.max() <= raw.max() + F32
    assert smoothed.mean(dtype=np.float64) == pytest.approx(raw.mean(dtype=np.float64), abs=F32)


@settings(deadline=None)
@given(SHAPES, st.floats(0, 1, width=32), SIGMAS)
def test_smoothing_leaves_a_constant_map(shape, value, sigma):
    np.testing.assert_allclose(smooth(np.full(shape, value, np.float32), sigma), value, atol=F32)


@settings(deadline=None)
@given(MAPS, SIGMAS)
def test_smoothing_commutes_with_mirroring(raw, sigma):
    np.testing.assert_allclose(smooth(raw[::-1, ::-1], sigma), smooth(raw, sigma)[::-1, ::-1], atol=F32)


def test_smoothing_is_the_stated_gaussian():
    raw = np.zeros((61, 61), np.float32)
    raw[30, 30] = 1
    offsets = np.arange(-12, 13)
    kernel = np.exp(-(offsets**2) / (2 * 3.0**2))
    kernel /= kernel.sum()
    expected = np.zeros((61, 61))
    expected[18:43, 18:43] = np.outer(kernel, kernel)
    np.testing.assert_allclose(smooth(raw, 3.0), expected, atol=1e-7)


def test_smoothing_never_writes_into_its_input():
    raw = np.eye(5, dtype=np.float32)
    smooth(raw, 0)[0, 0] = 9
    assert raw[0, 0] == 1


@pytest.mark.parametrize(("side", "sigma"), [(256, 4.0), (512, 8.0), (128, 2.0), (63, 4 * 63 / 256)])
def test_sigma_scales_with_the_side(side, sigma):
    raw = np.random.default_rng(side).random((side, side), dtype=np.float32)
    np.testing.assert_array_equal(anomaly_map(raw, ScoringConfig(sigma=4)), smooth(raw, sigma))


@settings(max_examples=60, deadline=None)
@given(MAPS, st.integers(1, 200_000))
def test_image_score_is_the_mean_of_the_top_pixels(scored, top_pixels):
    config = ScoringConfig(top_pixels=top_pixels)
    count = min(scored.size, max(1, round(top_pixels * scored.size / 65536)))
    expected = np.sort(scored.ravel())[-count:].astype(np.float64).mean()
    assert image_score(scored, config) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("side", "count"), [(256, 500), (512, 2000), (128, 125), (8, 1), (1, 1)])
def test_top_pixels_scale_with_the_area(side, count):
    assert top_pixel_count(side * side, ScoringConfig(top_pixels=500)) == count


def brute_regions(scored, threshold):
    """Flood fill: box, area, peak and the first position of the peak in reading order."""
    left = {(int(y), int(x)) for y, x in np.argwhere(scored > threshold)}
    found = []
    while left:
        queue, region = deque([left.pop()]), []
        while queue:
            y, x = queue.popleft()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue.extend(near)
        ys, xs = zip(*region, strict=True)
        peak = max(float(scored[pixel]) for pixel in region)
        y, x = min(pixel for pixel in region if scored[pixel] == peak)
        found.append(((min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(region), peak, (x, y)))
    return found


@settings(deadline=None)
@given(MAPS, st.sampled_from([0.0, 0.2, 0.5, 0.75, 0.9]), st.integers(1, 4))
def test_regions_equal_to_a_flood_fill(scored, threshold, min_area):
    regions = find_regions(scored, threshold, min_area)
    described = [(region.box, region.area, region.peak, region.peak_position) for region in regions]
    assert sorted(described) == sorted(r for r in brute_regions(scored, threshold) if r[1] >= min_area)
    assert [region.peak for region in regions] == sorted((region.peak for region in regions), reverse=True)


def test_regions_of_a_drawn_map():
    scored = np.zeros((7, 9), np.float32)
    scored[1:3, 1:4] = 0.6
    scored[3, 4] = 0.7  # touches the block at a corner
    scored[6, 8] = 0.9
    scored[0, 8] = 0.5  # not above the threshold
    first, second = find_regions(scored, 0.5)
    assert (first.box, first.area, first.peak_position) == ((8, 6, 9, 7), 1, (8, 6))
    assert (second.box, second.area, second.peak_position) == ((1, 1, 5, 4), 7, (4, 3))
    assert second.peak == np.float32(0.7)
    assert find_regions(scored, 0.5, min_area=2) == (second,)
    assert find_regions(scored, 0.9) == ()


def test_map_statistics():
    scored = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    assert map_statistics(scored, 0.5) == {"min": 0.0, "mean": 0.4375, "max": 1.0, "share_above": 0.25}


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (0, 4)])
def test_what_is_no_map_is_refused(shape):
    values = np.zeros(shape, np.float32)
    for function in (
        lambda: anomaly_map(values, ScoringConfig()),
        lambda: image_score(values, ScoringConfig()),
        lambda: find_regions(values, 0.5),
        lambda: map_statistics(values, 0.5),
    ):
        with pytest.raises(ClipAdaError, match="cannot score the map"):
            function()


def test_the_map_that_counts_comes_last() -> None:
    raw = np.stack([np.full((3, 4), value, np.float32) for value in (0.2, 0.6, 0.7)])
    assert append_fused_map(raw, ScoringConfig()) is raw
    fused = append_fused_map(raw, ScoringConfig(fusion="mean"))
    assert np.array_equal(fused[:3], raw)
    np.testing.assert_allclose(fused[3], 0.5, atol=1e-7)
    assert len(append_fused_map(raw[:1], ScoringConfig(fusion="mean"))) == 1


@pytest.mark.parametrize(("fusion", "views"), [("last", 2), ("mean", 3)])
def test_every_pass_is_smoothed_and_scored_and_the_last_counts(fusion, views) -> None:
    raw = np.random.default_rng(0).random((2, 9, 7), dtype=np.float32)
    config = ScoringConfig(fusion=fusion)
    maps, scores = score_passes(raw, config)
    means = [raw[0], raw[1], (raw[0] + raw[1]) / 2][:views]
    np.testing.assert_allclose(maps, [anomaly_map(one, config) for one in means], atol=F32)
    assert scores == tuple(image_score(one, config) for one in maps)
    np.testing.assert_array_equal(final_map(raw, config), maps[-1])


@settings(deadline=None)
@given(MAPS, st.floats(0, 1, width=32))
def test_regions_of_a_large_map_are_those_of_a_small_one(raw, threshold):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipada.scoring._MOST_LABELED", 0)
        patch.setattr("clipada.scoring._SQUARE", 4)
        found = find_regions(raw, threshold)
    assert sorted(found, key=str) == sorted(find_regions(raw, threshold), key=str)


def test_a_long_map_is_smoothed_as_a_short_one(monkeypatch):
    raw = np.random.default_rng(0).random((60, 90), dtype=np.float32)
    expected = smooth(raw, 3.0)
    monkeypatch.setattr("clipada.scoring._LONGEST_PRODUCT", 50)
    np.testing.assert_allclose(smooth(raw, 3.0), expected, atol=F32)


def test_a_map_of_tiles_is_scored_by_the_size_of_a_tile():
    config = ScoringConfig(sigma=4.0, top_pixels=500)
    tile = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    wide = np.pad(tile, ((0, 0), (0, 640)), constant_values=0)
    np.testing.assert_allclose(anomaly_map(wide, config, (64, 64))[:, :50], anomaly_map(tile, config)[:, :50], atol=F32)
    assert top_pixel_count(64 * 64, config) == 31
    assert image_score(wide, config, (64, 64)) == image_score(tile, config)
