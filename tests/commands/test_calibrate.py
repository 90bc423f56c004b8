"""From good parts to verdicts: `clipada calibrate`, what it writes, what it refuses, and what verdicts then say."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, calibrate, predict
from clipada.calibration import Calibration, CalibrationImage, read_calibration
from clipada.config import CalibrationConfig, HistoryConfig, PredictConfig
from clipada.errors import CalibrationError, DatasetError
from clipada.history.store import History
from clipada.images import image_sha256
from clipada.runs import CALIBRATION, CARD, TRAINED_ON, read_run
from clipada.types import Failure, Verdict
from run_folders import unseal
from tiny import write_good_parts

HALF = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
"""A promise that 8 images suffice for."""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two products: twelve good parts of one, four of the other."""
    write_good_parts(tmp_path / "parts" / "plate" / "good", 12, 1)
    write_good_parts(tmp_path / "parts" / "disc" / "good", 4, 2)
    return tmp_path / "parts"


# --- from good parts to verdicts


def test_the_command_line_keeps_its_promise_on_its_own_images(
    clipada: Callable[..., tuple[int, str, str]], run_folder: Path, parts: Path, tmp_path: Path
) -> None:
    code, out, err = clipada(
        *("calibrate", run_folder, parts, "--false-alarm-rate", 0.2, "--confidence", 0.8, "--device", "cpu")
    )
    assert (code, out) == (0, ""), err
    assert "of further good parts, 20 % or less are called defective, with 80 % confidence" in " ".join(err.split())
    calibration = read_calibration(run_folder / CALIBRATION)
    assert len(calibration.images) == 16
    assert calibration.command.startswith(f"clipada calibrate {run_folder}")
    assert "calibration" in (run_folder / CARD).read_text()

    code, out, err = clipada("predict", run_folder, parts, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    limits = calibration.pooled
    beyond = limits.rank - 1
    assert sum(record["defective"] for record in records) == beyond
    assert sum(bool(record["regions"]) for record in records) == beyond
    assert f"inspected 16 images, {beyond} defective, left out 0" in err
    for record in records:
        assert record["defective"] == (record["score"] > limits.score)
        assert record["score_threshold"] == limits.score
        assert record["threshold"] == limits.pixel
        assert record["calibration"] == calibration.id
        at_least = sum(other["score"] >= record["score"] for other in records)
        assert record["p_value"] == pytest.approx((1 + at_least) / 17)
        assert record["model"]["sha256"] == calibration.model_sha256
        assert record["model"]["run"] == run_folder.name
    assert {record["image_sha256"] for record in records} == {image.sha256 for image in calibration.images}


def test_without_a_calibration_nothing_is_decided(finished_run: Path, parts: Path) -> None:
    inspector = Inspector.load(finished_run, device="cpu")
    verdict = inspector.inspect(parts / "plate" / "good" / "000.png")
    assert (verdict.p_value, verdict.defective, verdict.score_threshold, verdict.calibration) == (None,) * 4
    assert verdict.latency_ms > 0
    levels = read_run(finished_run).training.normal_levels
    assert (verdict.group, verdict.threshold) == ("plate", levels["plate"])


def test_regions_of_no_known_product_begin_at_the_level_of_all(finished_run: Path, parts: Path) -> None:
    training = read_run(finished_run).training
    inspector = Inspector.load(finished_run, device="cpu")
    verdict = inspector.inspect((parts / "plate" / "good" / "000.png").read_bytes())
    assert (verdict.group, verdict.threshold) == (None, training.normal_level)
    assert min(training.normal_levels.values()) < training.normal_level


def test_a_verdict_is_the_same_whatever_way_the_image_comes_in(run_folder: Path, parts: Path) -> None:
    calibrate(run_folder, parts, HALF, device="cpu")
    inspector = Inspector.load(run_folder, device="cpu")
    path = parts / "plate" / "good" / "003.png"
    (batched,) = inspector.inspect_files([path])
    assert not isinstance(batched, Failure)
    for source in (path, str(path), path.read_bytes()):
        verdict = inspector.inspect(source)
        assert verdict.p_value == batched.p_value
        assert verdict.defective == batched.defective
        assert verdict.image_sha256 == batched.image_sha256


def test_regions_go_by_the_users_threshold_where_one_is_given(run_folder: Path, parts: Path) -> None:
    calibrate(run_folder, parts, HALF, device="cpu")
    (verdict, *_) = predict(run_folder, parts, settings=PredictConfig(threshold=0.25), device="cpu")
    assert not isinstance(verdict, Failure)
    assert verdict.threshold == 0.25
    assert verdict.defective is not None


def test_the_promise_changes_without_images(run_folder: Path, parts: Path) -> None:
    strict = calibrate(run_folder, parts, HALF, device="cpu").calibration
    loose = calibrate(run_folder, settings=CalibrationConfig(false_alarm_rate=0.5, confidence=0.8)).calibration
    assert loose == read_calibration(run_folder / CALIBRATION)
    assert loose.images == strict.images
    assert loose.pooled.score < strict.pooled.score
    assert loose.id != strict.id
    with pytest.raises(CalibrationError, match="too few") as caught:
        calibrate(run_folder, settings=CalibrationConfig())
    assert "299" in str(caught.value.expected)
    with pytest.raises(CalibrationError, match="groups cannot change"):
        calibrate(run_folder, settings=CalibrationConfig(false_alarm_rate=0.5, confidence=0.8, per="product"))
    assert read_calibration(run_folder / CALIBRATION) == loose


def test_drift_is_warned_of_at_the_end(run_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sixty parts calibrate; of further ones like them, those of the lower scores alone are drift."""
    calibrate(run_folder, write_good_parts(tmp_path / "good", 60, 1), HALF, device="cpu")
    verdicts = list(predict(run_folder, write_good_parts(tmp_path / "new", 160, 2), device="cpu"))
    assert "drift" not in caplog.text
    lower = sorted((verdict for verdict in verdicts if isinstance(verdict, Verdict)), key=lambda verdict: verdict.score)
    list(predict(run_folder, sorted(verdict.path for verdict in lower[:80] if verdict.path), device="cpu"))
    assert "drift: since part" in caplog.text
    assert "scores are lower than at calibration" in caplog.text


# --- groups


def test_a_group_with_too_few_images_falls_back(run_folder: Path, parts: Path) -> None:
    settings = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8, per="product")
    calibration = calibrate(run_folder, parts, settings, device="cpu").calibration
    assert calibration.group_sizes == {"disc": 4, "plate": 12}
    assert list(calibration.groups) == ["plate"]
    assert calibration.groups["plate"].images == 12
    inspector = Inspector.load(run_folder, device="cpu")
    plate = parts / "plate" / "good" / "000.png"
    assert inspector.inspect(plate).group == "plate"
    assert inspector.inspect(plate).score_threshold == calibration.groups["plate"].score
    for verdict in (
        inspector.inspect(parts / "disc" / "good" / "000.png"),
        inspector.inspect(plate.read_bytes()),
        inspector.inspect(plate, group="disc"),
    ):
        assert verdict.group is None
        assert verdict.score_threshold == calibration.pooled.score
    assert inspector.inspect(plate.read_bytes(), group="plate").group == "plate"
    with pytest.raises(
        CalibrationError, match=r"no such group\n  expected: disc, plate\n.*\n  remedy: did you mean plate"
    ):
        inspector.inspect(plate, group="Plat")
    (error,) = inspector.inspect_batch([plate], ["nut"])
    assert isinstance(error, CalibrationError)


def test_rejected_alarms_raise_thresholds_in_their_groups(
    clipada: Callable[..., tuple[int, str, str]], run_folder: Path, parts: Path, tmp_path: Path
) -> None:
    """What a user does on the line: an alarm, kept, rejected; the next calibration lets such parts pass."""
    url, common = f"sqlite:///{tmp_path / 'history.db'}", ("--device", "cpu")
    asked = ("--false-alarm-rate", 0.2, "--confidence", 0.8, "--per", "product")
    assert clipada("calibrate", run_folder, parts, *asked, *common)[0] == 0
    first = read_calibration(run_folder / CALIBRATION)
    run = read_run(run_folder)
    with History(HistoryConfig(database=url, keep="defective", images=str(tmp_path / "kept images"))) as history:
        inspector = Inspector.load(run, device="cpu")
        odd = write_good_parts(tmp_path / "new" / "plate", 4, seed=3)
        verdicts = [replace(inspector.inspect(path), defective=True) for path in sorted(odd.iterdir())]
        other = replace(verdicts[0], model=replace(verdicts[0].model, sha256="f" * 64))
        for number in history.store([*verdicts, other])[1:]:
            history.record_feedback(number, confirmed=False, reason="only dust")
    code, _, err = clipada("calibrate", run_folder, parts, *asked, "--rejected", url, *common)
    assert code == 0, err
    assert "3 images of rejected alarms" in err  # neither the one without a word nor that of another model
    second = read_calibration(run_folder / CALIBRATION)
    assert (second.group_sizes, second.images) == (first.group_sizes, first.images)
    joined = {image.sha256: image for image in second.rejected}
    assert {image.group for image in joined.values()} <= {"plate", None}
    assert len(joined) == 3
    for verdict in verdicts[1:]:
        assert joined[verdict.image_sha256].score == pytest.approx(verdict.score, abs=1e-6)
    assert "3 rejected alarms may have raised thresholds" in " ".join(err.split())
    code, _, err = clipada("calibrate", run_folder, "--rejected", url, *common)
    assert code == 2
    assert "no calibration" in err


@pytest.mark.parametrize("quantile", [0.5, 0.9, 1.5])
def test_rejected_alarms_lower_no_threshold(quantile: float) -> None:
    """They were chosen by their scores: 300 more images would else allow the next largest score as the threshold."""
    scores = np.random.default_rng(0).uniform(size=299)
    images = tuple(CalibrationImage(sha256=f"{place}", score=score, peak=score) for place, score in enumerate(scores))
    rejected = tuple(CalibrationImage(sha256=f"r{place}", score=quantile, peak=quantile) for place in range(300))
    told = {"settings": CalibrationConfig(), "model_sha256": "", "engine": "", "created": "", "command": ""}
    alone, joined = Calibration(images=images, **told), Calibration(images=images, rejected=rejected, **told)
    for limit in ("score", "pixel"):
        expected = max(scores.max(), quantile)
        assert getattr(joined.pooled, limit) == expected >= getattr(alone.pooled, limit)
    assert joined.p_value(0.7, None) == alone.p_value(0.7, None)
    assert joined.rate_bound(joined.pooled) == alone.rate_bound(alone.pooled)
    assert Calibration.from_dict(json.loads(json.dumps(joined.to_dict()))) == joined


def test_another_rate_keeps_the_rest_of_the_promise(
    clipada: Callable[..., tuple[int, str, str]], run_folder: Path, parts: Path
) -> None:
    asked = ("--false-alarm-rate", 0.2, "--confidence", 0.8, "--mode", "marginal", "--device", "cpu")
    assert clipada("calibrate", run_folder, parts, *asked)[0] == 0
    assert clipada("calibrate", run_folder, "--false-alarm-rate", 0.3)[0] == 0
    told = read_calibration(run_folder / CALIBRATION).settings
    assert (told.false_alarm_rate, told.confidence, told.mode) == (0.3, 0.8, "marginal")


def test_a_rule_that_finds_no_group_is_refused(run_folder: Path, parts: Path) -> None:
    settings = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8, per=r"camera(\d)")
    with pytest.raises(CalibrationError, match="names a group"):
        calibrate(run_folder, parts, settings, device="cpu")
    assert not (run_folder / CALIBRATION).exists()


# --- what is no calibration data


def test_training_images_copies_and_unreadable_files_do_not_count(
    clipada: Callable[..., tuple[int, str, str]], finished_run: Path, run_folder: Path, parts: Path
) -> None:
    trained = finished_run.parent / "products" / "plate" / "train" / "good" / "002.png"
    shutil.copy(trained, parts / "plate" / "good" / "renamed.png")
    shutil.copy(parts / "disc" / "good" / "001.png", parts / "plate" / "good" / "twice.png")
    (parts / "plate" / "good" / "broken.png").write_bytes(b"")
    code, _, err = clipada("calibrate", run_folder, parts, "--false-alarm-rate", 0.2, "--confidence", 0.8)
    assert code == 0, err
    said = err.replace("\n", "")
    assert f"left out, trained on: {parts / 'plate' / 'good' / 'renamed.png'}" in said
    assert f"left out, a copy of another: {parts / 'plate' / 'good' / 'twice.png'}" in said
    assert "broken.png" in said
    assert len(read_calibration(run_folder / CALIBRATION).images) == 16


def test_too_few_images_are_refused_with_the_number_needed(
    clipada: Callable[..., tuple[int, str, str]], finished_run: Path, parts: Path
) -> None:
    code, _, err = clipada("calibrate", finished_run, parts)
    assert code == 2
    for words in ("too few good images", "1 % with 95 % confidence", "at least 299", "got: 16"):
        assert words in err
    train = finished_run.parent / "products" / "plate" / "train"
    code, _, err = clipada("calibrate", finished_run, train, "--mode", "marginal", "--false-alarm-rate", 0.2)
    assert code == 2
    assert "got: 0; 6 more were trained on, 0 are copies" in err
    assert not (finished_run / CALIBRATION).exists()


def test_an_older_run_cannot_tell_what_it_was_trained_on(
    run_folder: Path, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (unseal(run_folder) / TRAINED_ON).unlink()
    calibrate(run_folder, parts, HALF, device="cpu")
    assert "trained on (no training-images.sha256)" in caplog.text


def test_defects_are_no_calibration_data(finished_run: Path) -> None:
    products = finished_run.parent / "products"
    for folder in (products / "plate", products / "plate" / "test", products / "plate" / "ground_truth"):
        with pytest.raises(DatasetError, match="does not seem to show a good part"):
            calibrate(finished_run, folder, HALF, device="cpu")
    with pytest.raises(CalibrationError, match="too few"):
        calibrate(finished_run, [products / "plate" / "test" / "good", products / "plate" / "train"], device="cpu")


def test_a_data_set_s_own_photos_for_thresholds_are_taken(run_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for place, count in (("train/good", 3), ("validation/good", 9), ("test_public/good", 2), ("test_public/bad", 2)):
        write_good_parts(root / "plate" / place, count, len(place))
    report = calibrate(run_folder, root, HALF, device="cpu")
    hashes = {image.sha256 for image in report.calibration.images}
    assert hashes == {image_sha256(path) for path in (root / "plate" / "validation" / "good").iterdir()}
