"""Saturated per-region overlap against a plain implementation of its definition: equal to 1e-9."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.data.saturation import SaturatedRegion, Saturation
from clipada.evaluation.metrics import SPRO_FPR_LIMIT, SaturatedTest, aupro
from drawn import maps_and_masks

TOLERANCE = 1e-9


def plain_spro(maps, regions, saturations, limit):
    """The definition, threshold by threshold: lists of masks for each map, and their saturations in pixels."""
    normal = ~np.array([np.logical_or.reduce(masks) if masks else np.zeros(maps.shape[1:], bool) for masks in regions])
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        above = maps >= threshold
        overlaps = [
            min((above[i] & mask).sum() / pixels, 1)
            for i, masks in enumerate(regions)
            for mask, pixels in zip(masks, saturations[i], strict=True)
        ]
        points.append(((above & normal).sum() / normal.sum(), np.mean(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit:
            end = min(x1, limit)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0) if x1 > x0 else y1
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@st.composite
def saturated_cases(draw):
    """Maps, up to three overlapping regions in each but the first map, and their saturations in pixels."""
    maps, masks = draw(maps_and_masks())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    regions, saturations = [[masks[0]]], [[int(draw(st.integers(1, int(masks[0].sum()))))]]
    for mask in masks[1:]:
        found = [mask & (rng.random(mask.shape) < 0.7) for _ in range(draw(st.integers(0, 3)))]
        regions.append([one for one in found if one.any()])
        saturations.append([int(rng.integers(1, one.sum() + 1)) for one in regions[-1]])
    return maps, regions, saturations


@settings(max_examples=80, deadline=None)
@given(saturated_cases())
def test_spro_equal_to_plain_implementation(case):
    maps, regions, saturations = case
    test = SaturatedTest(["logical"])
    for values, masks, pixels in zip(maps, regions, saturations, strict=True):
        found = [SaturatedRegion(mask, count / mask.sum()) for mask, count in zip(masks, pixels, strict=True)]
        test.update("logical" if found else None, float(values.max()), values, found)
    expected = plain_spro(maps, regions, saturations, SPRO_FPR_LIMIT)
    assert test.compute()["logical"].spro == pytest.approx(expected, abs=TOLERANCE)


def test_spro_of_whole_regions_is_their_aupro():
    rng = np.random.default_rng(3)
    maps = rng.random((3, 12, 12)).astype(np.float32)
    mask = np.zeros((12, 12), bool)
    mask[2:5, 3:9] = True
    test = SaturatedTest(["scratch"])
    for values in maps:
        test.update("scratch", 0.5, values, [SaturatedRegion(mask, 1.0)])
    assert test.compute()["scratch"].spro == pytest.approx(aupro(maps, [mask] * 3, SPRO_FPR_LIMIT), abs=TOLERANCE)


def test_saturation_in_pixels_and_as_a_share():
    assert Saturation(40, relative=False).share(100) == 0.4
    assert Saturation(400, relative=False).share(100) == 1
    assert Saturation(0.35, relative=True).share(10) == 0.3  # whole pixels
    assert Saturation(0.01, relative=True).share(10) == 0.1  # at least one
