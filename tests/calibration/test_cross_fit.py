"""The promise of cross-fitted thresholds over repeated draws, for scores that a memory gives: nearest distances."""

from collections.abc import Callable

import numpy as np
import pytest

from clipada.calibration import Calibration, CalibrationImage, cross_fit_bound, with_attainable_rate
from clipada.config import CalibrationConfig

Draw = Callable[[np.random.Generator, int], np.ndarray]


def even(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=(count, 3))


def heavy_tailed(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.standard_t(2, size=(count, 2))


def clustered(rng: np.random.Generator, count: int) -> np.ndarray:
    """Parts of ten molds, some of which a few images do not show."""
    centers = 6 * np.random.default_rng(0).normal(size=(10, 3))
    return centers[rng.integers(10, size=count)] + 0.1 * rng.normal(size=(count, 3))


def nearest(parts: np.ndarray, memory: np.ndarray) -> np.ndarray:
    return np.sqrt(((parts[:, None] - memory[None]) ** 2).sum(2)).min(1)


def left_out(memory: np.ndarray, folds: np.ndarray) -> np.ndarray:
    apart = np.sqrt(((memory[:, None] - memory[None]) ** 2).sum(2))
    apart[folds[:, None] == folds[None]] = np.inf
    return apart.min(1)


def calibration(scores: np.ndarray, rate: float, folds: int) -> Calibration:
    images = tuple(CalibrationImage(sha256=str(index), score=score, peak=score) for index, score in enumerate(scores))
    settings = with_attainable_rate(CalibrationConfig(false_alarm_rate=rate, mode="marginal"), len(images))
    return Calibration(
        settings=settings, images=images, folds=folds, model_sha256="", engine="", created="", command=""
    )


@pytest.mark.slow
@pytest.mark.parametrize("draw", [even, heavy_tailed, clustered])
@pytest.mark.parametrize("count", [16, 32, 64, 200])
@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_the_mean_rate_of_false_alarms_is_as_expected(draw: Draw, count: int, rate: float) -> None:
    """Over many trainings, fresh good parts alarm no more often than promised; with the memory's own images they do."""
    rng = np.random.default_rng(count)
    alarms, draws, fresh = [], 300, 200
    for _ in range(draws):
        memory, parts = draw(rng, count), draw(rng, fresh)
        found = calibration(left_out(memory, np.arange(count)), rate, count)
        alarms.append((nearest(parts, memory) > found.pooled.score).mean())
    limits = found.pooled
    expected = limits.rank / (limits.images + 1)
    error = np.std(alarms) / np.sqrt(draws)
    assert np.mean(alarms) <= expected + 4 * error
    assert np.mean(alarms) >= expected / 4  # it is no empty promise either
    assert np.mean(alarms) <= cross_fit_bound(count, limits.rank, count)
    own = nearest(memory, memory)
    assert (nearest(parts, memory) > np.sort(own)[-limits.rank]).all()  # the mistake: every new part alarms


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_images_of_one_part_taken_several_times_need_a_common_fold(shared: bool) -> None:
    rng = np.random.default_rng(1)
    alarms, draws, count, each = [], 300, 60, 3
    for _ in range(draws):
        memory = np.repeat(even(rng, count // each), each, axis=0) + 0.01 * rng.normal(size=(count, 3))
        folds = np.arange(count) // each if shared else np.arange(count)
        found = calibration(left_out(memory, folds), 0.1, len(set(folds.tolist())))
        alarms.append((nearest(even(rng, 200), memory) > found.pooled.score).mean())
    assert (np.mean(alarms) <= 0.11) == shared


def test_the_bound_of_theory() -> None:
    """Barber et al. (2021): twice the rate with a fold for each image, and a term more with fewer folds."""
    assert cross_fit_bound(20, 1, 20) == pytest.approx(2 / 21)
    assert cross_fit_bound(200, 10, 10) == pytest.approx(20 / 201 + min(1.8 / 21, 0.95 / 11))
    assert cross_fit_bound(4, 4, 4) == 1


@pytest.mark.parametrize("count", [1, 2, 16, 20, 99, 1000])
def test_the_attainable_rate_gives_a_threshold(count: int) -> None:
    settings = with_attainable_rate(CalibrationConfig(false_alarm_rate=1e-6, mode="marginal"), count)
    found = calibration(np.arange(count) / count, settings.false_alarm_rate, count)
    assert found.pooled.rank == 1
    assert settings.false_alarm_rate == pytest.approx(1 / (count + 1), abs=1e-4)
