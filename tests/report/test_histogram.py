"""Histograms of scores, and the choice of the parts shown."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipada.report.cases import LABELED_CASES, choose_cases
from clipada.report.histogram import histogram
from clipada.report.parts import ScoredPart

SCORES_OF_PARTS = st.lists(st.floats(0, 1), max_size=40)


@given(SCORES_OF_PARTS, SCORES_OF_PARTS, st.lists(st.floats(0, 1), max_size=2))
@example([], [0.9999999999999999], [])
def test_histograms_hold_every_part_inside_their_axes(
    good: list[float], anomalous: list[float], limits: list[float]
) -> None:
    scores = {"good": good, "anomalous": anomalous}
    if not (good or anomalous):
        return
    chart = histogram(scores, limits)
    ticks = [place for _, place in chart.ticks]
    assert ticks == sorted(set(ticks))
    assert (ticks[0], ticks[-1]) == (0, 100)
    assert len({label for label, _ in chart.ticks}) == len(ticks)
    assert all(0 <= mark.place <= 100 for mark in chart.thresholds)
    for kind, bars in chart.bars.items():
        assert sum(bar.count for bar in bars) == len(scores[kind])
        assert math.isclose(sum(bar.share for bar in bars), 100)
        assert all(0 < bar.share <= chart.tops[kind] and 0 <= bar.start < 100 for bar in bars)


def test_bars_meet_at_the_thresholds() -> None:
    """Those to the right are the parts called defective, to the last one; a score at the threshold is not."""
    scores = [*np.random.default_rng(0).uniform(size=500).tolist(), 0.3712]
    chart = histogram({"good": scores}, [0.3712, 0.88])
    for limit, mark in zip([0.3712, 0.88], chart.thresholds, strict=True):
        left = [bar for bar in chart.bars["good"] if bar.start + bar.width <= mark.place + 0.01]
        assert all(bar in left or bar.start >= mark.place - 0.01 for bar in chart.bars["good"])
        assert sum(bar.count for bar in left) == sum(score <= limit for score in scores)


def test_labels_of_near_thresholds_stand_above_one_another() -> None:
    chart = histogram({"good": [0.0, 1.0]}, [0.4, 0.451, 0.46, 0.9])
    assert [(mark.label, mark.row) for mark in chart.thresholds] == [("0.4", 0), ("0.451", 1), ("0.46", 2), ("0.9", 0)]


def test_bars_stand_where_their_scores_are() -> None:
    chart = histogram({"good": [0.0, 0.1, 0.1], "anomalous": [1.0]})
    (first, second), (last,) = chart.bars["good"], chart.bars["anomalous"]
    assert (first.start, first.count, second.count) == (0, 1, 2)
    assert second.start <= 10 < second.start + second.width
    assert last.start + last.width == pytest.approx(100)
    assert second.share == pytest.approx(200 / 3)
    assert [label for label, _ in chart.ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


def test_bars_of_many_different_scores_are_visible_beside_few() -> None:
    """Ten good parts of one score beside defects of every score: each kind has an axis of its own."""
    chart = histogram({"good": [0.1] * 10, "anomalous": [index / 100 for index in range(20, 100)]})
    assert chart.tops["good"] == 100
    assert max(bar.share for bar in chart.bars["anomalous"]) > chart.tops["anomalous"] / 4


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["good", "crack", None])), max_size=30))
def test_no_part_is_shown_twice_and_the_extremes_are(drawn: list[tuple[float, str | None]]) -> None:
    parts = [
        ScoredPart(path=Path(f"{index}.png"), category="", score=score, defect=defect)
        for index, (score, defect) in enumerate(drawn)
    ]
    groups = choose_cases(parts)
    shown = [part.path for cases in groups for part in cases.parts]
    assert len(shown) == len(set(shown))
    defects = sorted(part.score for part in parts if part.kind == "anomalous")
    seen = sorted(part.score for cases in groups for part in cases.parts if part.kind == "anomalous")
    assert seen == (defects if len(defects) < 2 * LABELED_CASES else defects[:LABELED_CASES] + defects[-LABELED_CASES:])
