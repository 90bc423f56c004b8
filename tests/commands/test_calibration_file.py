"""`calibration.json` of another model or engine, or damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipada import Inspector, calibrate
from clipada.calibration import read_calibration
from clipada.config import CalibrationConfig
from clipada.errors import CalibrationError, ConfigError
from clipada.runs import CALIBRATION, seal
from tiny import write_good_parts

HALF = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
"""A promise that 8 images suffice for."""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two products: twelve good parts of one, four of the other."""
    write_good_parts(tmp_path / "parts" / "plate" / "good", 12, 1)
    write_good_parts(tmp_path / "parts" / "disc" / "good", 4, 2)
    return tmp_path / "parts"


def test_the_calibration_of_another_model_is_refused(run_folder: Path, parts: Path) -> None:
    calibrate(run_folder, parts, HALF, device="cpu")
    content = json.loads((run_folder / "config.json").read_text())
    content["config"]["scoring"]["top_pixels"] = 7
    (run_folder / "config.json").write_text(json.dumps(content))
    seal(run_folder)
    with pytest.raises(CalibrationError, match="not of run line3"):
        Inspector.load(run_folder, device="cpu")
    calibrate(run_folder, parts, HALF, device="cpu")  # the way out
    Inspector.load(run_folder, device="cpu")


def test_another_engine_is_warned_of(run_folder: Path, parts: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibrate(run_folder, parts, HALF, device="cpu")
    Inspector.load(run_folder, device="cpu")
    assert not caplog.text
    Inspector.load(run_folder, device="cpu", precision="bf16")
    assert "calibrated with engine torch fp32, inspecting with torch bf16" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["thresholds"]["pooled"].update(score=0.9), "follow from the scores"),
        (lambda content: content["images"][0].update(score=0.9), "follow from the scores"),
        (lambda content: content["images"][0].update(score="0.9"), "wrong type"),
        (lambda content: content["images"][0].update(score=float("nan")), "not finite"),
        (lambda content: content["images"].clear(), "too few"),
        (lambda content: content["images"].append(content["images"][0]), "in the calibration twice"),
        (lambda content: content.update(format=2), "another format"),
        (lambda content: content.update(extra=1), "unknown field extra"),
        (lambda content: content.pop("engine"), "field engine is missing"),
        (lambda content: content["settings"].update(mode="lucky"), "mode"),
    ],
)
def test_a_changed_file_is_refused(
    run_folder: Path, parts: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    calibrate(run_folder, parts, HALF, device="cpu")
    content = json.loads((run_folder / CALIBRATION).read_text())
    change(content)
    (run_folder / CALIBRATION).write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=said) as caught:
        Inspector.load(run_folder, device="cpu")
    assert caught.value.remedy
    assert str(run_folder / CALIBRATION) in caught.value.what


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CALIBRATION).write_text(content)
    with pytest.raises(CalibrationError, match=CALIBRATION.replace(".", "[.]")):
        read_calibration(tmp_path / CALIBRATION)


def test_a_promise_must_be_one() -> None:
    with pytest.raises(ConfigError, match="false_alarm_rate"):
        CalibrationConfig(false_alarm_rate=1.5)
