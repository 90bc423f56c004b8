"""Regions of interest: polygons and masks, drawn at any size; scoring inside of them alone."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipada.config import ScoringConfig
from clipada.data.saturation import SaturatedRegion
from clipada.errors import ConfigError
from clipada.evaluation.metrics.category import CategoryTest
from clipada.images.roi import RegionOfInterest, RegionsOfInterest, masked, seen_inside
from clipada.scoring import final_map, score_passes
from clipada.types import LocalizedImage

SQUARE = [[10, 20], [30, 20], [30, 40], [10, 40]]


def region(*polygons: list[list[float]], size: tuple[int, int] = (60, 50)) -> RegionOfInterest:
    return RegionOfInterest.from_dict({"size": list(size), "polygons": [*polygons]})


def test_a_polygon_counts_the_pixels_inside_and_polygons_are_united():
    expected = np.zeros((50, 60), np.bool_)
    expected[20:40, 10:30] = True
    drawn = region(SQUARE).drawn()
    np.testing.assert_array_equal(drawn, expected)
    both = region(SQUARE, [[40, 0], [60, 0], [60, 10]]).drawn()
    assert both[30, 20]
    assert both[2, 57]
    assert not both[45, 50]


def test_it_is_written_and_read_back_as_polygons_or_as_a_mask():
    polygons = region(SQUARE)
    mask = RegionOfInterest.of_mask(polygons.drawn())
    for one in (polygons, mask):
        again = RegionOfInterest.from_dict(json.loads(json.dumps(one.to_dict())))
        assert again == one
        np.testing.assert_array_equal(again.drawn(), polygons.drawn())
        np.testing.assert_array_equal(one.inside((100, 120))[40:80:2, 20:60:2], one.drawn()[20:40, 10:30])
        assert one.inside((25, 30)).sum() == pytest.approx(one.drawn().sum() / 4, rel=0.1)


@pytest.mark.parametrize("size", [(50, 60), (120, 175), (25, 30)])
def test_masks_of_large_images_are_the_same_in_less_memory(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    odd = region([[10.5, 3], [50, 20.5], [30, 44], [7, 30]])
    expected = odd.inside(size)
    monkeypatch.setattr("clipada.images.roi._LARGE", 0)
    found = odd.inside(size)
    assert (found != expected).mean() < 0.002
    assert found.any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "content of a region of interest"),
        ({"size": [60, 50]}, r"expected: {\"size\": \[WIDTH, HEIGHT\], \"polygons\""),
        ({"size": [60, 50], "polygons": [SQUARE], "more": 1}, "content of a region of interest"),
        ({"size": "60x50", "polygons": [SQUARE]}, r"size .*\n  expected: \[width, height\] in whole pixels"),
        ({"size": [60.5, 50], "polygons": [SQUARE]}, "in whole pixels"),
        ({"size": [0, 50], "polygons": [SQUARE]}, "size"),
        ({"size": [60, 50], "polygons": SQUARE}, r"corner .*\n  expected: \[x, y\] in pixels"),
        ({"size": [60, 50], "polygons": "all"}, "a list of lists of corners"),
        ({"size": [60, 50], "polygons": [[[1, 1], [2, 2]]]}, "expected: 3 corners or more\n  got: 2"),
        ({"size": [60, 50], "polygons": [[[1, 1], [70, 2], [5, 9]]]}, r"inside of 60 x 50 pixels\n  got: \(70, 2\)"),
        ({"size": [60, 50], "polygons": [[[1, 1], [float("nan"), 2], [5, 9]]]}, "inside of 60 x 50"),
        ({"size": [60, 50], "polygons": [[[1, 1], [True, 2], [5, 9]]]}, "corner"),
        (
            {"size": [60, 50], "polygons": []},
            r"^the area of a region of interest .*\n  expected: at least one pixel inside",
        ),
        ({"size": [60, 50], "mask": "no"}, "a PNG file in base64"),
        ({**RegionOfInterest.of_mask(np.ones((5, 6), np.bool_)).to_dict(), "size": [60, 50]}, "got: 6 x 5"),
        (RegionOfInterest.of_mask(np.ones((5, 6), np.bool_)).to_dict() | {"mask": ""}, "base64|at least one"),
    ],
)
def test_content_of_another_shape_is_refused(content: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        RegionOfInterest.from_dict(content)
    with pytest.raises(ConfigError):
        RegionsOfInterest.from_dict({"products": {"plate": content}})


def test_a_product_has_its_own_and_an_unknown_one_that_of_any():
    other = region([[40, 0], [60, 0], [60, 10], [40, 10]])
    regions = RegionsOfInterest(products={"plate": region(SQUARE), "disc": other})
    assert regions.inside("bolt", (50, 60)) is None
    union = regions.inside(None, (50, 60))
    np.testing.assert_array_equal(union, region(SQUARE).drawn() | other.drawn())
    engine = SimpleNamespace(regions=regions, products=("disc", "plate"), localize=lambda _: None)
    maps = np.zeros((1, 50, 60), np.float32)
    found = LocalizedImage(maps=maps, view=(50, 60), product=0)
    np.testing.assert_array_equal(seen_inside(engine, found, "plate")((50, 60)), other.drawn())  # as it was searched
    unknown = LocalizedImage(maps=maps, view=(50, 60))
    np.testing.assert_array_equal(seen_inside(engine, unknown, "plate")((50, 60)), region(SQUARE).drawn())
    np.testing.assert_array_equal(seen_inside(engine, unknown, "hall 3")((50, 60)), union)
    assert seen_inside(SimpleNamespace(), unknown, "plate")((50, 60)) is None


def test_what_is_outside_neither_scores_nor_spreads_and_a_defect_at_the_border_counts_in_full():
    inside = np.zeros((64, 64), np.bool_)
    inside[:, 32:] = True
    raw = np.full((1, 64, 64), 0.5, np.float32)
    loud = np.where(inside, raw, np.float32(1))
    config = ScoringConfig(sigma=12, top_pixels=500)
    found = final_map(loud, config, inside=inside)
    np.testing.assert_allclose(found[inside], 0.5, atol=1e-6)
    assert not found[~inside].any()
    maps, scores = score_passes(loud, config, inside=inside)
    np.testing.assert_array_equal(maps[-1], found)
    assert scores[-1] == pytest.approx(0.5, abs=1e-6)
    assert final_map(loud, config)[:, 33].max() > 0.6  # without it, the outside spreads


def test_a_map_is_zero_outside():
    values = np.ones((4, 4), np.float32)
    inside = np.eye(4, dtype=np.bool_)
    np.testing.assert_array_equal(masked(values, inside), np.eye(4))
    assert masked(values, None) is values


def test_pixel_metrics_count_the_pixels_inside_alone():
    rng = np.random.default_rng(0)
    inside = np.zeros((30, 40), np.bool_)
    inside[5:25, 10:30] = True
    whole, cut = CategoryTest(["bent"]), CategoryTest(["bent"])
    for number in range(6):
        values = rng.random((30, 40)).astype(np.float32)
        mask = np.zeros((30, 40), np.bool_)
        if number % 2:
            mask[8:16, 4:20] = True  # a part of it is outside
            values[mask & inside] += 0.4
        noise = np.where(inside, values, rng.random((30, 40)))  # whatever is outside changes nothing
        beside = np.zeros_like(mask)
        beside[:4, :4] = True  # a defect that is all outside does not count
        regions = [SaturatedRegion(one, 0.3) for one in (mask, beside) if mask.any()]
        small = [SaturatedRegion(mask[5:25, 10:30], 0.3)] if mask.any() else []
        whole.update(float(values.max()), bool(number % 2), noise, mask, "bent", regions, inside)
        cut.update(float(values.max()), bool(number % 2), values[5:25, 10:30], mask[5:25, 10:30], "bent", small)
    assert whole.compute() == cut.compute()
    assert whole.compute().spro is not None
