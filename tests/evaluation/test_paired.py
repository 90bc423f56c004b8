"""Paired intervals: counted pixels give the exact metrics, and intervals hold differences that are known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipada.errors import ClipAdaError, RunError
from clipada.evaluation.metrics import CategoryTest
from clipada.evaluation.paired import (
    METRICS,
    CategoryScores,
    ScoreCollector,
    difference_intervals,
    draw_means,
    load_scores,
    require_same_images,
    save_scores,
)

SIZE = (32, 32)


def pictures(
    signal: float, images: int, seed: int, noise: int = 1000, inside: NDArray[np.bool_] | None = None
) -> tuple[CategoryScores, CategoryTest]:
    """Maps of noise, higher by ``signal`` in the squares of defects; half of the images are defective."""
    rng, draw = np.random.default_rng(seed), np.random.default_rng(noise)
    collector, exact = ScoreCollector(), CategoryTest()
    for index in range(images):
        mask = np.zeros(SIZE, np.bool_)
        if index % 2:
            for top, left in rng.integers(0, 26, (2, 2)):
                mask[top : top + 6, left : left + 3] = True
        values = np.exp(draw.normal(size=SIZE) + signal * mask).astype(np.float32) / 100
        score = float(np.sort(values, axis=None)[-20:].mean())
        collector.add(f"{index:03}.png", score, bool(index % 2), values, mask, inside)
        exact.update(score, bool(index % 2), values, mask, inside=inside)
    return collector.collect(), exact


def evaluated_once(scores: CategoryScores) -> NDArray[np.float64]:
    return scores.evaluate(np.ones((1, len(scores.names)), np.int64))[0]


@pytest.mark.parametrize("signal", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("columns", [32, 18])
def test_counted_pixels_give_the_exact_metrics(signal: float, columns: int) -> None:
    """The map's values span three orders of magnitude; the tolerance is a hundredth of a point."""
    inside = np.broadcast_to(np.arange(32) < columns, SIZE)  # a region of interest, or all of it
    scores, exact = pictures(signal, 24, seed=3, inside=inside)
    expected = [getattr(exact.compute(), name) for name in METRICS]
    np.testing.assert_allclose(evaluated_once(scores), expected, rtol=0, atol=1e-4)


def test_a_draw_is_the_test_set_with_its_images_repeated() -> None:
    scores, _ = pictures(1.0, 12, seed=1)
    draws = np.zeros((1, 12), np.int64)
    draws[0, [0, 2, 3, 5]] = 1, 3, 2, 2
    again = ScoreCollector()
    source = [0, 2, 2, 2, 3, 3, 5, 5]
    rng, draw = np.random.default_rng(1), np.random.default_rng(1000)
    whole = []
    for index in range(12):
        mask = np.zeros(SIZE, np.bool_)
        if index % 2:
            for top, left in rng.integers(0, 26, (2, 2)):
                mask[top : top + 6, left : left + 3] = True
        whole.append((np.exp(draw.normal(size=SIZE) + mask).astype(np.float32) / 100, mask))
    for place, index in enumerate(source):
        values, mask = whole[index]
        again.add(f"{place}", float(np.sort(values, axis=None)[-20:].mean()), bool(index % 2), values, mask)
    np.testing.assert_allclose(scores.evaluate(draws)[0], evaluated_once(again.collect()), rtol=0, atol=1e-12)


def test_intervals_hold_a_known_difference_as_often_as_they_say() -> None:
    """Means of 20 test sets of two methods; the true difference is that of a test set of 400 images."""
    truth = np.subtract(*(evaluated_once(pictures(signal, 400, seed=99)[0]) for signal in (0.7, 0.5)))
    held = np.zeros(len(METRICS))
    for seed in range(20):
        means = [
            draw_means({"plate": pictures(signal, 30, seed, noise=seed)[0]}, resamples=60) for signal in (0.7, 0.5)
        ]
        found = difference_intervals(*means)
        for index, name in enumerate(METRICS):
            interval = found[name]
            assert interval is not None
            held[index] += interval.low <= truth[index] <= interval.high
    assert (held >= 15).all(), held  # 95 % of 20 are 19; fewer than 15 have a chance of 3 in 10,000


def test_pairing_narrows_the_interval_of_two_nearly_equal_methods() -> None:
    """Both methods have the same noise, so only the paired difference is small; it is 0 of a method to itself."""
    first, second = ({"plate": pictures(signal, 40, seed=5)[0]} for signal in (0.70, 0.69))
    paired = difference_intervals(draw_means(first, 200), draw_means(second, 200))["pixel_ap"]
    apart = difference_intervals(draw_means(first, 200), draw_means(second, 200, seed=1))["pixel_ap"]
    assert paired is not None
    assert apart is not None
    assert paired.high - paired.low < (apart.high - apart.low) / 5
    assert set(difference_intervals(draw_means(first, 20), draw_means(first, 20)).values()) == {(0.0, 0.0)}


def test_images_without_masks_count_for_the_image_metric_alone() -> None:
    collector = ScoreCollector()
    for index in range(4):
        mask = None if index % 2 else np.zeros(SIZE, np.bool_)
        collector.add(str(index), index % 2, bool(index % 2), np.full(SIZE, 0.5, np.float32), mask)
    found = difference_intervals(*[draw_means({"plate": collector.collect()}, resamples=5)] * 2)
    assert found["image_auroc"] == (0.0, 0.0)
    assert [found[name] for name in METRICS[1:]] == [None] * 3


def test_scores_are_stored_and_damage_is_found(tmp_path: Path) -> None:
    scores, _ = pictures(1.0, 6, seed=0)
    path = tmp_path / "plate.npz"
    save_scores(path, scores)
    read = load_scores(path)
    assert read.names == scores.names
    np.testing.assert_array_equal(evaluated_once(read), evaluated_once(scores))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RunError, match=r"plate\.npz is damaged"):
        load_scores(path)


def test_other_images_and_other_values_are_refused() -> None:
    first, second = ({"plate": pictures(1.0, images, seed=0)[0]} for images in (6, 8))
    with pytest.raises(RunError, match="same 6 images"):
        require_same_images(first, second, "patchcore")
    with pytest.raises(ClipAdaError, match="finite"):
        ScoreCollector().add("1", 0.5, False, np.full(SIZE, np.nan, np.float32), np.zeros(SIZE, np.bool_))
