"""Tolerances of the parity gate, and thresholds of shortcuts: chosen on some images, checked on others."""

from dataclasses import replace

import numpy as np
import pytest

from clipada.config import ExportConfig, ScoringConfig
from clipada.engines.export.images import Views
from clipada.engines.export.parity import beyond_tolerance, compare
from clipada.engines.export.shortcuts import (
    END_LEVELS,
    INACTIVE_LEVELS,
    Cascade,
    Shortcut,
    exceeding_share,
    measure_shortcuts,
)
from clipada.engines.passes import GraphShape, PassInput, PassOutput
from clipada.engines.refinement import GraphEngine

SCORING = ScoringConfig(sigma=0, top_pixels=1)
SIDE = 32


def engine(error: float) -> GraphEngine:
    """One patch. Pass 0 reports an image's brightness; a refinement reports ``error`` more of it."""

    def run_pass(inputs: PassInput) -> PassOutput:
        brightness = inputs["images"][:, 0, 0, 0].astype(np.float32) / 255
        refined = brightness * (1 + error * (inputs["gain"].max(axis=(1, 2)) - 1))
        maps = np.stack([brightness, refined], axis=1)[..., None].repeat(inputs["tokens"].shape[1], axis=2)
        return PassOutput(maps, np.zeros((1, *inputs["tokens"].shape, 2), np.float32))

    shape = GraphShape(image_size=SIDE, grid=(1, 1), blocks=1, width=1, passes=2)
    return GraphEngine(run_pass, shape, attention="residual")


def gray(levels: list[int]) -> np.ndarray:
    return np.repeat(np.array(levels, np.uint8), SIDE * SIDE * 3).reshape(-1, SIDE, SIDE, 3)


def measured(error: float, normal: list[int], anomalous: list[int]) -> tuple[Shortcut, Cascade]:
    return measure_shortcuts(engine(error), gray(normal), gray(anomalous), SCORING, bound=0.08)


def test_the_threshold_is_the_highest_that_keeps_to_half_the_bound() -> None:
    levels = list(range(0, 250, 2))  # the error of level v is (v / 255) ** 2 where it is not refined
    shortcut, _ = measured(1.0, levels, [240, 250])
    kept = [level for level in INACTIVE_LEVELS if max((v / 255) ** 2 for v in levels[::2] if v / 255 < level) <= 0.04]
    assert shortcut.cold_below == max(kept) == 0.16
    unrefined = [v / 255 for v in levels[1::2] if v / 255 < 0.16]
    assert shortcut.refined_normal == pytest.approx(1 - len(unrefined) / 62)
    assert shortcut.refined_anomalous == 1
    assert shortcut.map_error == pytest.approx(max(unrefined) ** 2, abs=1e-6)
    assert shortcut.score_error == pytest.approx(shortcut.map_error, abs=1e-6)


def test_a_threshold_that_other_images_break_is_dropped() -> None:
    levels = [250, 75] * 4  # chosen on bright images alone, which are always refined
    shortcut, _ = measured(1.0, levels, [250, 250])
    assert shortcut.map_error > 0.08
    assert shortcut.cold_below == 0


def test_anomalous_images_count_too() -> None:
    shortcut, _ = measured(1.0, [0, 0], [75, 75])
    assert shortcut.cold_below == 0.16
    assert (shortcut.map_error, shortcut.refined_normal, shortcut.refined_anomalous) == (0, 0, 1)


def test_images_end_where_no_score_changes_by_more_than_half_the_bound() -> None:
    _, cascade = measured(1.0, list(range(0, 250, 2)), [240, 250])
    assert cascade.end_below == max(
        level for level in END_LEVELS if max((v / 255) ** 2 for v in range(0, 250, 4) if v / 255 < level) <= 0.04
    )
    ended = [v / 255 for v in range(2, 250, 4) if v / 255 < cascade.end_below]
    assert (cascade.ended_normal, cascade.ended_anomalous) == (pytest.approx(len(ended) / 62), 0)
    assert cascade.score_error == pytest.approx(max(ended) ** 2, abs=1e-6)


def test_images_that_others_break_do_not_end() -> None:
    _, cascade = measured(1.0, [250, 75] * 4, [250, 250])
    assert cascade.score_error > 0.08
    assert cascade.end_below == 0


def test_few_images_bound_little() -> None:
    for checked in (1, 20, 59, 1000):
        assert (1 - exceeding_share(checked)) ** checked == pytest.approx(0.05)  # a worse share would show so seldom


# --- the gate


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_map_of_a_later_pass_that_is_no_number_is_beyond_tolerance(precision: str) -> None:
    found = compare(engine(0.1), engine(np.nan), Views.of_whole(gray([0, 50, 100])), SCORING)
    assert found.max_map_error == (0, 1)
    assert found.rank_correlation is None
    assert beyond_tolerance(precision, found, None, ExportConfig())


def test_scores_that_are_all_alike_are_beyond_tolerance_where_nothing_else_is_known() -> None:
    found = compare(engine(0.1), engine(0.1), Views.of_whole(gray([50, 50])), SCORING)
    assert "cannot be ranked" in beyond_tolerance("int8", found, None, ExportConfig())[0]
    assert beyond_tolerance("fp32", found, None, ExportConfig()) == ()


def test_a_metric_that_the_export_lacks_is_lost() -> None:
    found = compare(engine(0.1), engine(0.1), Views.of_whole(gray([0, 50])), SCORING)
    metrics = {"torch": {"image_auroc": 0.9, "pixel_ap": 0.5}, "export": {"image_auroc": 0.9}}
    assert [failure[:8] for failure in beyond_tolerance("int8", found, metrics, ExportConfig())] == ["pixel_ap"]


def test_only_a_memory_may_have_a_few_pixels_beyond_tolerance() -> None:
    same = compare(engine(0.1), engine(0.1), Views.of_whole(gray([0, 50])), SCORING)
    tied = replace(same, max_map_error=(2e-4,), share_beyond=2e-5)
    assert beyond_tolerance("fp32", tied, None, ExportConfig())
    assert not beyond_tolerance("fp32", tied, None, ExportConfig(), memory=True)
    for more in ({"share_beyond": 2e-3}, {"max_map_error": (0.2,)}, {"max_score_error": 2e-4}):
        assert beyond_tolerance("fp32", replace(tied, **more), None, ExportConfig(), memory=True)


def test_the_share_of_pixels_beyond_tolerance_is_counted_in_every_pass() -> None:
    found = compare(engine(0.1), engine(0.5), Views.of_whole(gray([0, 0, 0, 200])), SCORING, tolerance=0.01)
    assert (found.share_beyond, found.max_map_error[0]) == (0.25, 0)
