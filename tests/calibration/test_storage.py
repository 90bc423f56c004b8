"""The present and the previous calibration on disk: whatever moment a process is killed at, both are whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from clipada.calibration import (
    Calibration,
    CalibrationImage,
    previous_path,
    read_calibration,
    storage,
    swap_calibrations,
    write_calibration,
)
from clipada.config import CalibrationConfig
from clipada.runs import CALIBRATION

OLD = Calibration(
    settings=CalibrationConfig(false_alarm_rate=0.25, mode="marginal"),
    images=tuple(CalibrationImage(sha256=f"{index:064x}", score=index / 16, peak=index / 8) for index in range(8)),
    model_sha256="a" * 64,
    engine="torch fp32",
    created="2026-01-01T00:00:00+00:00",
    command="clipada calibrate line3 parts",
)
NEW = replace(OLD, created="2026-02-02T00:00:00+00:00")


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ``number``-th write of a file fail."""
    count, write = iter(range(1, 9)), storage.write_json

    def fail(path: Path, value: object) -> None:
        if next(count) == number:
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(storage, "write_json", fail)


def test_the_calibration_that_is_replaced_is_kept(tmp_path: Path) -> None:
    path = tmp_path / CALIBRATION
    write_calibration(path, OLD)
    assert not previous_path(path).exists()
    write_calibration(path, NEW, OLD)
    assert (read_calibration(path), read_calibration(previous_path(path))) == (NEW, OLD)
    write_calibration(path, NEW, NEW)
    assert read_calibration(previous_path(path)) == OLD, "the same one again must not take the place of the other"


@pytest.mark.parametrize("number", [1, 2])
def test_a_killed_replacement_leaves_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / CALIBRATION
    write_calibration(path, OLD)
    killed_at(number, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_calibration(path, NEW, OLD)
    assert read_calibration(path) == OLD


@pytest.mark.parametrize("number", [1, 2])
def test_a_killed_undo_loses_no_previous_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / CALIBRATION
    write_calibration(path, OLD)
    write_calibration(path, NEW, OLD)
    killed_at(number, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        swap_calibrations(path, OLD, NEW)
    assert read_calibration(previous_path(path)) == OLD
    assert read_calibration(path) in (NEW, OLD)
