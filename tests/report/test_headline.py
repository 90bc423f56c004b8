"""The verdict first: headline, decisions, badges and the CSV of a report, through the real command line."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from clipada import calibrate, predict, report_run
from clipada.config import CalibrationConfig
from clipada.runs import CALIBRATION, SCORES
from pages import read

Command = Callable[..., tuple[int, str]]


def test_a_report_begins_with_what_was_found_and_missed(clipada: Command, calibrated: Path, tmp_path: Path) -> None:
    code, _, err = clipada("report", calibrated, "--out", tmp_path)
    assert code == 0, err
    page = read(tmp_path / "report.html")
    rows = list(csv.DictReader((tmp_path / "report.csv").open(newline="")))
    calibration = json.loads((calibrated / CALIBRATION).read_text())
    limits = {name: limit["score"] for name, limit in calibration["thresholds"]["groups"].items()}
    outcomes = Counter()
    scores = [json.loads(line) for line in (calibrated / SCORES).read_text().splitlines()]
    for row, record in zip(rows, scores, strict=True):
        above, anomalous = record["scores"][-1] > limits[record["category"]], record["anomalous"]
        expected = ("found" if above else "missed") if anomalous else ("false alarm" if above else "passed")
        assert (row["path"], row["outcome"]) == (record["path"], expected)
        assert row["decision"] == ("defective" if above else "good")
        assert float(row["score_threshold"]) == limits[record["category"]]
        outcomes[expected] += 1
    figures = [" ".join(figure.split()) for figure in page.words[page.words.index("Inspection report") :].splitlines()]
    for label, outcome, note in (
        ("found", "found", "of 4 defective parts"),
        ("missed", "missed", ""),
        ("false alarms", "false alarm", "of 4 good parts"),
    ):
        assert any(line.startswith(f"{label} {outcomes[outcome]} {note}") for line in figures)
        assert f"{label}: {outcomes[outcome]} (" in err
    guarantee = "The guarantee: of further good parts, 40 % or less are called defective, on average over calibrations."
    assert guarantee in page.words
    assert guarantee in err
    assert page.words.index("The guarantee") < page.words.index("Metrics in percent")
    badges = [tag for tag in page.all("b") if str(tag.get("class")).startswith("badge")]
    assert len(badges) == 8 + outcomes["missed"] + outcomes["false alarm"]  # every part is a case here
    for name, limit in limits.items():
        assert f"{name} defective above {limit:.4g}" in " ".join(page.words.split())
        assert f"threshold {limit:#.3g}" in page.words


def test_images_that_a_run_was_calibrated_on_are_named(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    run = shutil.copytree(calibrated, tmp_path / "line3")
    settings = CalibrationConfig(false_alarm_rate=0.4, mode="marginal")
    calibrate(run, [parts / "disc" / "test" / "good"], settings, force=True, device="cpu")
    sentences = report_run(run, device="cpu").headline.sentences
    assert sentences[1].startswith("2 good test images are calibration images")


def test_each_part_of_a_prediction_is_called_good_or_defective(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    verdicts = list(predict(calibrated, parts / "disc" / "test", tmp_path, device="cpu"))
    report = report_run(calibrated, tmp_path, device="cpu")
    page = read(report.path)
    listed = "".join(page.words[page.words.index("defective ones first") :].split())
    assert len(verdicts) == 4
    for verdict in verdicts:
        name = verdict.path.relative_to(parts / "disc" / "test")
        numbers = f"{verdict.score:#.3g}{verdict.score_threshold:#.3g}"
        assert f"{name}{str(verdict.decision).upper()}{numbers}" in listed
    defective = sum(bool(verdict.defective) for verdict in verdicts)
    assert [(one.label, one.value) for one in report.headline.figures] == [
        ("good", str(4 - defective)),
        ("defective", str(defective)),
    ]
    with report.listing.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for verdict in verdicts:
        row = rows[str(verdict.path)]
        assert (row["decision"], float(row["p_value"])) == (verdict.decision, verdict.p_value)
        assert row["image_sha256"] == verdict.image_sha256


def test_a_page_does_not_take_the_name_of_its_csv(clipada: Command, evaluated: Path, tmp_path: Path) -> None:
    code, _, err = clipada("report", evaluated, "--out", tmp_path / "report.csv")
    assert (code, "the page has the name of the CSV beside it" in err) == (2, True)
    assert list(tmp_path.glob("report*")) == []
