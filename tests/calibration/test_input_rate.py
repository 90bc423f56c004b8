"""The watch over images that are not inspectable: a dark camera is found soon, a rare bad frame is no alarm."""

import numpy as np
import pytest

from clipada.calibration import DriftMonitor
from clipada.calibration.input_rate import EXPECTED, InputRate
from deliveries import made_calibration


def watched(refused: np.ndarray, chance: float = 0.01) -> InputRate:
    test = InputRate(chance)
    for one in refused:
        test.add(not one)
    return test


def test_a_camera_that_goes_dark_is_found_within_a_few_images() -> None:
    for before in (0, 100, 20_000):
        refused = np.r_[np.zeros(before, bool), np.ones(10, bool)]
        report = watched(refused).report()
        assert report.alarming
        assert report.alarm_at is not None
        assert report.alarm_at - before <= 6
        assert "more than 1 %" in report.describe()


def test_the_expected_share_seldom_raises_an_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(watched(rng.random(1500) < EXPECTED, chance=0.1).report().alarming for _ in range(200))
    assert alarms <= 0.1 * 200


def test_the_bets_are_fair_at_the_expected_share() -> None:
    def after(inspectable: bool) -> float:
        test = watched(np.array([False, True, False]), chance=1e-9)
        test.add(inspectable)
        return sum(test._capital) + 1 / (test.images + 1)

    before = watched(np.array([False, True, False]), chance=1e-9)
    expected = (1 - EXPECTED) * after(True) + EXPECTED * after(False)
    assert expected == pytest.approx(sum(before._capital) + 1 / (before.images + 1))


def test_images_that_are_not_inspectable_are_no_evidence_of_drift() -> None:
    scores = np.random.default_rng(0).normal(0.3, 0.05, 100).tolist()
    one, other = DriftMonitor(made_calibration()), DriftMonitor(made_calibration())
    for score in scores:
        one.add(score)
        other.add(score)
        other.add(0.99, inspectable=False)
    assert one.reports() == other.reports()
    report = other.inputs.report()
    assert (report.images, report.not_inspectable, report.alarming) == (200, 100, True)


def test_a_restored_state_goes_on_and_an_older_one_has_none() -> None:
    first, second, old = (DriftMonitor(made_calibration()) for _ in range(3))
    for _ in range(3):
        first.add(0.3, inspectable=False)
    state = first.state()
    assert second.restore(state)
    assert second.inputs.report() == first.inputs.report()
    del state["inputs"]
    assert old.restore(state)
    assert old.inputs.report().images == 0
