"""A new calibration in the place of another: compared before it is written, refused if it would do harm, and undone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, calibrate, undo_calibration
from clipada.calibration import CalibrationChange, previous_path, read_calibration
from clipada.config import CalibrationCheckConfig, CalibrationConfig
from clipada.errors import CalibrationError
from clipada.runs import CALIBRATION, CARD
from tiny import save, write_good_parts

HALF = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
"""A promise that 8 images suffice for."""

GROUPED = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8, per="product")

Clipada = Callable[..., tuple[int, str, str]]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two products, twelve good parts each."""
    for seed, product in enumerate(("plate", "disc"), start=1):
        write_good_parts(tmp_path / "parts" / product / "good", 12, seed)
    return tmp_path / "parts"


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Twelve parts of another product, which looks like nothing that the model has seen."""
    rng = np.random.default_rng(9)
    for index in range(12):
        stripes = np.where(np.arange(48) // rng.integers(3, 7) % 2, 255, 0)[None, :, None]
        image = np.broadcast_to(stripes, (40, 48, 3)) * rng.uniform(0.3, 1, 3)
        save(tmp_path / "others" / "nut" / "test" / "good" / f"{index:03}.png", image.astype(np.uint8))
    return tmp_path / "others"


@pytest.fixture
def calibrated(run_folder: Path, parts: Path) -> Path:
    """A run with thresholds for each of its two products."""
    calibrate(run_folder, parts, GROUPED, device="cpu")
    return run_folder


def content(run: Path) -> dict[str, bytes]:
    """The content of the files of calibrations."""
    return {path.name: path.read_bytes() for path in sorted(run.glob("calibration*"))}


# --- refused


def test_images_of_another_product_change_nothing(
    clipada: Clipada, calibrated: Path, others: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(calibrated)
    asked = ("--false-alarm-rate", 0.2, "--confidence", 0.8, "--device", "cpu")
    code, out, err = clipada("calibrate", calibrated, others, *asked)
    assert (code, out) == (2, "")
    assert content(calibrated) == before
    told = " ".join(err.split())
    for words in (
        "thresholds of old new old new old new",
        "of the old calibration's 24 images",
        "the old thresholds call 12 of the new calibration's 12 images of good parts defective",
        "error: the new calibration is not written: groups disc, plate of the present calibration are lost",
        "12 of 12 images are unlike the training images, e.g. ",
        "the present thresholds call 12 of the 12 images of good parts defective",
        "--force",
    ):
        assert words in told
    assert "was not trained on nut, but on" in caplog.text
    table = [line for line in err.splitlines() if "all images" in line or "disc" in line]
    assert all(len(line) <= 80 for line in table[:2])

    code, _, err = clipada("calibrate", calibrated, others, *asked, "--force")
    assert code == 0, err
    assert "written nevertheless: groups disc, plate" in caplog.text
    assert not read_calibration(calibrated / CALIBRATION).groups
    assert f"`clipada calibrate {calibrated} --undo` restores it" in " ".join(err.split())


def test_a_first_calibration_from_another_product_is_refused(run_folder: Path, others: Path) -> None:
    with pytest.raises(CalibrationError, match="12 of 12 images are unlike the training images") as caught:
        calibrate(run_folder, others, HALF, device="cpu")
    assert str(others / "nut" / "test" / "good") in caught.value.what
    assert content(run_folder) == {}
    assert len(calibrate(run_folder, others, HALF, force=True, device="cpu").calibration.images) == 12


def test_a_single_dead_frame_is_left_out_and_named(clipada: Clipada, run_folder: Path, parts: Path) -> None:
    dead = parts / "plate" / "good" / "dead.png"
    save(dead, np.zeros((40, 48, 3), np.uint8))
    code, _, err = clipada("calibrate", run_folder, parts, "--false-alarm-rate", 0.2, "--confidence", 0.8)
    assert code == 0, err
    assert f"left out, not inspectable: {dead}: " in err.replace("\n", "")
    assert len(read_calibration(run_folder / CALIBRATION).images) == 24


def test_a_threshold_that_no_synthetic_defect_reaches_is_refused(run_folder: Path, parts: Path, others: Path) -> None:
    """Defects that were rejected as false alarms raise the threshold until nothing is above."""
    rejected = dict.fromkeys(sorted(others.rglob("*.png")))
    strict = CalibrationConfig(false_alarm_rate=0.1, confidence=0.8)
    with pytest.raises(CalibrationError, match="synthetic defect") as caught:
        calibrate(run_folder, parts, strict, rejected=rejected, device="cpu")
    assert "--force" in str(caught.value.remedy)
    assert content(run_folder) == {}
    calibrate(run_folder, parts, strict, rejected=rejected, force=True, device="cpu")
    assert list(content(run_folder)) == [CALIBRATION]


def test_without_pytorch_a_threshold_at_the_end_of_the_scale_is_refused(
    run_folder: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipada.inspection.proposal.can_draw_defects", lambda: False)
    calibrate(run_folder, parts, HALF, device="cpu")
    (run_folder / CALIBRATION).unlink()
    monkeypatch.setattr(
        "clipada.inspection.proposal.CalibrationCheckConfig", lambda: CalibrationCheckConfig(ceiling=0.1)
    )
    with pytest.raises(CalibrationError, match="hardly any defect can reach"):
        calibrate(run_folder, parts, HALF, device="cpu")
    assert content(run_folder) == {}


def test_a_guarantee_that_costs_a_group_its_thresholds_is_refused(calibrated: Path) -> None:
    """Twelve images suffice for 15 %, in which each group has too few for 10 %."""
    before = content(calibrated)
    strict = CalibrationConfig(false_alarm_rate=0.1, confidence=0.8)
    with pytest.raises(CalibrationError, match=r"disc \(12 of the 16 images needed\)"):
        calibrate(calibrated, settings=strict)
    assert content(calibrated) == before
    assert not calibrate(calibrated, settings=strict, force=True).calibration.groups


def test_the_review_may_refuse(calibrated: Path, parts: Path) -> None:
    before = content(calibrated)

    def refuse(change: CalibrationChange) -> None:
        assert change.old == read_calibration(calibrated / CALIBRATION)
        raise CalibrationError("not today")

    with pytest.raises(CalibrationError, match="not today"):
        calibrate(calibrated, parts, GROUPED, review=refuse, device="cpu")
    assert content(calibrated) == before


def test_more_images_of_the_same_products_are_taken(calibrated: Path, parts: Path) -> None:
    write_good_parts(parts / "plate" / "more", 6, 5)
    change = calibrate(
        calibrated, parts, CalibrationConfig(**{**vars(GROUPED), "per": r"parts/(\w+)/"}), device="cpu"
    ).change
    assert change is not None
    assert change.lost_groups == ()
    assert len(change.new.images) == 30


# --- undone


def test_undo_restores_the_previous_calibration_and_again_takes_that_back(
    clipada: Clipada, calibrated: Path, parts: Path
) -> None:
    first = read_calibration(calibrated / CALIBRATION)
    second = calibrate(calibrated, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.8)).calibration
    code, _, err = clipada("calibrate", calibrated, "--undo")
    assert code == 0, err
    assert "of the old calibration's 24 images" in " ".join(err.split())
    assert read_calibration(calibrated / CALIBRATION) == first
    assert f"{first.pooled.score:.3g}" in (calibrated / CARD).read_text()
    assert Inspector.load(calibrated, device="cpu").calibration == first
    report = undo_calibration(calibrated)
    assert report.calibration == second == read_calibration(calibrated / CALIBRATION)
    assert read_calibration(previous_path(calibrated / CALIBRATION)) == first
    assert report.change is not None
    assert report.change.old == first


def test_without_a_previous_calibration_nothing_is_undone(clipada: Clipada, calibrated: Path, parts: Path) -> None:
    before = content(calibrated)
    with pytest.raises(CalibrationError, match=r"has no previous calibration(.|\n)*calibration\.previous\.json"):
        undo_calibration(calibrated)
    code, _, err = clipada("calibrate", calibrated, parts, "--undo")
    assert code == 2
    assert "neither IMAGES nor another guarantee" in " ".join(err.replace("│", " ").split())
    assert content(calibrated) == before


def test_undo_is_the_way_out_of_a_damaged_calibration(calibrated: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = read_calibration(calibrated / CALIBRATION)
    calibrate(calibrated, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.8))
    (calibrated / CALIBRATION).write_text("{")
    assert undo_calibration(calibrated).calibration == first
    assert "damaged" in caplog.text
    assert Inspector.load(calibrated, device="cpu").calibration == first


def test_the_previous_calibration_of_another_model_is_refused(calibrated: Path) -> None:
    path = calibrated / CALIBRATION
    calibrate(calibrated, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.8))
    kept = previous_path(path)
    kept.write_text(kept.read_text().replace(read_calibration(path).model_sha256, "f" * 64))
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match=r"calibration\.previous\.json"):
        undo_calibration(calibrated)
    assert path.read_bytes() == before
