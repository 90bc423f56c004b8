"""The drift watch continues where it stopped: after a restart, in another process, after a prune."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clipada.calibration import Calibration, DriftMonitor, DriftReport
from clipada.config import DriftConfig, HistoryConfig
from clipada.history import drift as drifting
from clipada.history.drift import DriftWatch, restart
from clipada.history.recorder import Recorder
from clipada.history.store import History
from deliveries import made_calibration, verdict


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return made_calibration()


def store(history: History, calibration: Calibration, scores: np.ndarray, days_old: float = 0) -> None:
    history.store(
        [verdict(float(score), days_old=days_old, calibration=calibration.id, group=None) for score in scores]
    )


def seen(history: History, calibration: Calibration, *, keep: bool = True) -> tuple[DriftWatch, list[DriftReport]]:
    """What a new process finds, and leaves when it stops (unless it is killed)."""
    watch = DriftWatch(history, calibration)
    reports = list(watch.update())
    if keep:
        watch.save()
    return watch, reports


@pytest.mark.parametrize("keep", [True, False], ids=["stopped", "killed"])
def test_restarts_change_nothing_of_what_is_found(url: str, calibration: Calibration, keep: bool) -> None:
    """Drift that builds up over ten processes of 40 parts each, too slow for any one of them to find."""
    scores = np.random.default_rng(1).normal(0.335, 0.05, 400)
    lone = [DriftMonitor(calibration) for _ in range(10)]
    found = None
    with History(HistoryConfig(database=url)) as history:
        for part, monitor in enumerate(lone):
            chunk = scores[40 * part : 40 * part + 40]
            for score in chunk:
                monitor.add(float(score))
            store(history, calibration, chunk)
            watch, reports = seen(history, calibration, keep=keep)
            found = found or (reports[0] if reports else None)
    assert not any(monitor.drifting() for monitor in lone)
    assert found is not None
    assert found.higher
    assert watch.monitor.parts == 400


def test_a_state_that_is_restored_goes_on_as_if_never_left(calibration: Calibration) -> None:
    """All but the tie-breaking draws, which without ties move a p-value by less than 1 / 200."""
    scores = np.random.default_rng(2).normal(0.3, 0.05, 300).tolist()
    whole, first, second = (DriftMonitor(calibration) for _ in range(3))
    for score in scores:
        whole.add(score)
    for score in scores[:150]:
        first.add(score)
    assert second.restore(first.state())
    for score in scores[150:]:
        second.add(score)
    (one,), (other,) = whole.reports(), second.reports()
    assert (one.parts, one.defective, one.higher, one.quantiles) == (
        other.parts,
        other.defective,
        other.higher,
        other.quantiles,
    )
    assert other.evidence == pytest.approx(one.evidence, rel=0.1)
    assert not DriftMonitor(calibration, DriftConfig(jump=0.5)).restore(first.state())


def test_the_saved_state_outlives_the_verdicts(url: str, calibration: Calibration) -> None:
    rng = np.random.default_rng(3)
    with History(HistoryConfig(database=url)) as history:
        store(history, calibration, rng.normal(0.3, 0.05, 50), days_old=40)
        running, _ = seen(history, calibration)
        assert history.prune(datetime.now(UTC) - timedelta(days=30)) == 50
        assert seen(history, calibration)[0].monitor.parts == 50
        store(history, calibration, rng.normal(0.3, 0.05, 8))  # SQLite starts again with id 1
        running.update()
        assert running.monitor.parts == 58
        assert seen(history, calibration)[0].monitor.parts == 58
        store(history, calibration, rng.normal(0.3, 0.05, 8))
        assert seen(history, calibration)[0].monitor.parts == 66


def test_drift_is_reported_once_and_again_after_a_restart(
    url: str, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drifting, "SAVE_AFTER", 10)  # kept within a process too
    rng = np.random.default_rng(4)
    with History(HistoryConfig(database=url)) as history:
        watch = DriftWatch(history, calibration)
        store(history, calibration, rng.normal(0.2, 0.05, 100))
        assert [report.higher for report in watch.update()] == [False]
        store(history, calibration, rng.normal(0.2, 0.05, 10))
        assert watch.update() == ()
        assert seen(history, calibration)[1] != []  # a new process reports it again
        restart(history)
        store(history, calibration, rng.normal(0.3, 0.05, 40))
        assert watch.update() == ()
        assert watch.monitor.parts == 40
        assert seen(history, calibration)[1] == []
        store(history, calibration, rng.normal(0.2, 0.05, 100))
        assert [report.parts for report in watch.update()] == [140]


def test_a_recorder_that_stops_goes_on(url: str, calibration: Calibration, caplog: pytest.LogCaptureFixture) -> None:
    scores = np.random.default_rng(6).normal(0.2, 0.05, 60)
    for parts in (60, 120):
        with Recorder(calibration, HistoryConfig(database=url)) as line:
            store(line.history, calibration, scores)
            line.warn_of_drift()
            line.warn_of_drift()
            line.finish()
            assert line.drift is not None
            assert line.drift.monitor.parts == parts
    assert caplog.text.count("drift: since part") == 2


def test_others_verdicts_are_not_taken_for_ours(url: str, calibration: Calibration) -> None:
    with History(HistoryConfig(database=url)) as history:
        history.store([verdict(0.1, calibration="f" * 12), verdict(0.1, calibration=None), verdict(0.1, model=None)])
        assert seen(history, calibration)[0].monitor.parts == 0


def test_a_long_stream_needs_bounded_memory(calibration: Calibration) -> None:
    monitor = DriftMonitor(calibration)
    rng = np.random.default_rng(5)
    sizes = []
    for _ in range(2):
        for score in rng.normal(0.3, 0.001, 10_000):
            monitor.add(float(score))
        sizes.append(len(monitor.state()["streams"][0]["values"]))
    assert sizes[1] < 1.1 * sizes[0] < 200
