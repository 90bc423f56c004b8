"""Drift detection: drift is found, and false alarms stay below the bound in streams of any length."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.calibration import Calibration, CalibrationImage, DriftMonitor, DriftReport, JumperMartingale
from clipada.calibration.drift import QUANTILES
from clipada.config import CalibrationConfig, DriftConfig
from clipada.errors import ConfigError


def calibrated(scores: np.ndarray, groups: list[str] | None = None, rejected: Sequence[float] = ()) -> Calibration:
    names: list[str | None] = list(groups) if groups else [None] * len(scores)
    images = [
        CalibrationImage(sha256=str(index), score=float(score), peak=0.5, group=name)
        for index, (score, name) in enumerate(zip(scores, names, strict=True))
    ]
    late = [CalibrationImage(sha256=f"r{index}", score=float(score), peak=0.5) for index, score in enumerate(rejected)]
    return Calibration(
        settings=CalibrationConfig(false_alarm_rate=0.05),
        images=tuple(images),
        rejected=tuple(late),
        model_sha256="",
        engine="",
        created="",
        command="",
    )


def watched(calibration: Calibration, scores: np.ndarray, chance: float = 0.01, seed: int = 0) -> DriftReport:
    monitor = DriftMonitor(calibration, DriftConfig(false_alarm_chance=chance, seed=seed))
    for score in scores:
        monitor.add(float(score))
    (report,) = monitor.reports()
    return report


@given(st.lists(st.floats(0, 1), max_size=50), st.floats(0.001, 1))
@settings(deadline=None, max_examples=50)
def test_the_martingale_is_one(p_values: list[float], jump: float) -> None:
    """Its mean over the next p-value, uniform on 0..1, is its value: a bet is linear in p, so two points give it."""

    def after(p_value: float) -> float:
        martingale = JumperMartingale(jump)
        for earlier in (*p_values, p_value):
            martingale.add(earlier)
        return martingale.value

    martingale = JumperMartingale(jump)
    for p_value in p_values:
        martingale.add(p_value)
    assert (after(0) + after(1)) / 2 == pytest.approx(martingale.value, rel=1e-9)
    assert martingale.value >= 1 / (len(p_values) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
def test_without_drift_the_chance_of_a_warning_is_bounded(ties: bool) -> None:
    """500 streams of 400 parts, a bound of 5 %: more than 8.9 % would be four standard errors above it."""
    rng = np.random.default_rng(1)
    alarms = 0
    for seed in range(500):
        scores = rng.binomial(8, 0.3, 500) / 8 if ties else rng.normal(size=500)
        alarms += watched(calibrated(scores[:100]), scores[100:], 0.05, seed).drifting
    assert alarms / 500 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.slow
def test_rejected_alarms_are_no_drift() -> None:
    """All false alarms of 2,000 parts rejected and joined: 100 streams of 1,000 parts, a bound of 5 % and its error."""
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(100):
        held_out, earlier, later = np.split(rng.lognormal(size=3100), [100, 2100])
        limit = calibrated(held_out).pooled.score
        alarms += watched(calibrated(held_out, rejected=earlier[earlier > limit]), later, 0.05, seed).drifting
    assert alarms / 100 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 100)


@pytest.mark.parametrize(("shift", "higher"), [(1.0, True), (-1.0, False)])
def test_a_shift_of_one_standard_deviation_is_found(shift: float, higher: bool) -> None:
    """After 500 good parts, within 200 more, in each of 20 streams."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        good, shifted = rng.normal(size=500), rng.normal(size=200) + shift
        calibration = calibrated(rng.normal(size=300))
        assert not watched(calibration, good).drifting
        report = watched(calibration, np.concatenate([good, shifted]))
        assert report.drift_at is not None
        assert 500 < report.drift_at <= 700
        assert report.higher == higher


def test_defects_that_are_found_are_no_drift() -> None:
    rng = np.random.default_rng(3)
    scores = np.where(rng.uniform(size=600) < 0.4, 50.0, rng.normal(size=600))
    report = watched(calibrated(rng.normal(size=300)), scores)
    assert not report.drifting
    assert report.parts == 600
    assert report.defective >= np.count_nonzero(scores == 50)
    assert "no sign of drift" in report.describe()


def test_each_group_is_watched_by_itself() -> None:
    rng = np.random.default_rng(4)
    scores = np.concatenate([rng.normal(size=100), rng.normal(size=100) + 8])
    calibration = calibrated(scores, ["nut"] * 100 + ["bolt"] * 100)
    monitor = DriftMonitor(calibration)
    for nut, bolt in zip(rng.normal(size=300), rng.normal(size=300) + 7, strict=True):
        monitor.add(float(nut), "nut")
        monitor.add(float(bolt), "bolt")
    found = {report.group: report for report in monitor.reports()}
    assert set(found) == {"nut", "bolt"}
    assert not found["nut"].drifting
    assert found["bolt"].drifting
    assert found["bolt"].limit == pytest.approx(300)


def test_the_warning_says_what_to_do() -> None:
    rng = np.random.default_rng(5)
    report = watched(calibrated(rng.normal(size=200)), rng.normal(size=300) - 1)
    told = report.describe()
    for words in ("drift: since part", "lower than at calibration", "defects may pass", "clipada calibrate", "camera"):
        assert words in told
    assert len(report.quantiles) == len(QUANTILES)
    assert all(stream < before for before, stream in report.quantiles)


def test_no_parts_no_report() -> None:
    assert DriftMonitor(calibrated(np.arange(100.0))).reports() == ()


def test_parts_that_all_tie_are_no_drift() -> None:
    assert not watched(calibrated(np.zeros(100)), np.zeros(500)).drifting
    mixed = np.repeat([0.0, 1.0], [95, 5])
    assert not watched(calibrated(mixed), np.zeros(500)).drifting


@pytest.mark.parametrize("change", [{"false_alarm_chance": 0}, {"jump": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        DriftConfig(**change)
