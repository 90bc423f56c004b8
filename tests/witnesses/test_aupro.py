"""AUPRO against a plain implementation of its definition."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.evaluation.metrics import (
    aupro,
)
from drawn import maps_and_masks

TOLERANCE = 1e-9


def flood(mask):
    """The 8-connected regions of a mask, each a list of (row, column)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        queue, region = deque([left.pop()]), []
        while queue:
            y, x = queue.popleft()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue.extend(near)
        regions.append(region)
    return regions


def plain_aupro(maps, masks, limit):
    """The definition, threshold by threshold and region by region."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        above = maps >= threshold
        fpr = (above & ~masks).sum() / (~masks).sum()
        overlaps = [
            np.mean([above[i][pixel] for pixel in region]) for i, mask in enumerate(masks) for region in flood(mask)
        ]
        points.append((fpr, np.mean(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0) if x1 > x0 else y1
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@settings(max_examples=60, deadline=None)
@given(maps_and_masks(), st.sampled_from([0.05, 0.3, 0.77, 1.0]))
def test_aupro_equal_to_plain_implementation(case, limit):
    maps, masks = case
    assert aupro(maps, masks, limit) == pytest.approx(plain_aupro(maps, masks, limit), abs=TOLERANCE)
