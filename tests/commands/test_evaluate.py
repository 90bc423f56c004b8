"""`evaluate` with a run: metrics, scores and card in its folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.config import CalibrationConfig
from clipada.data import Dataset, load_dataset
from clipada.errors import CalibrationError, DatasetError
from clipada.evaluation.evaluate import ScoredImage, evaluate_dataset
from clipada.evaluation.metrics import CategoryMetrics, evaluate_maps
from clipada.files import read_json
from clipada.inspection import Inspector
from clipada.runs import CARD, CONFIG, METRICS, SCORES, read_run
from clipada.types import Progress
from tiny import save


def reversed_order(dataset: Dataset) -> Dataset:
    return replace(dataset, samples=dataset.samples[::-1])


def test_evaluating_a_run_keeps_metrics_scores_and_card(run_folder: Path, products: Path) -> None:
    seen: list[Progress] = []
    evaluation = evaluate(run_folder, products, device="cpu", report=seen.append)
    assert [(step.done, step.total) for step in seen] == [(done, 8) for done in range(1, 9)]
    content = json.loads((run_folder / METRICS).read_text())
    assert content == json.loads(json.dumps(evaluation.to_dict()))
    assert content["protocol"]["engine"] == "torch fp32"
    assert "sha256" in content["protocol"]["backbone"]
    records = [json.loads(line) for line in (run_folder / SCORES).read_text().splitlines()]
    assert len(records) == 8
    assert records == json.loads(json.dumps(evaluation.scores))
    card = (run_folder / CARD).read_text()
    assert "## Metrics on products" in card
    assert f"{100 * content['mean']['pixel_ap']:.1f}" in card


def test_decisions_by_kind_are_kept_and_follow_the_calibration(
    run_folder: Path, products: Path, clipada: Callable[..., tuple[int, str, str]]
) -> None:
    """Evaluated before and after: the same counts, without scoring anything twice."""
    assert evaluate(run_folder, products, device="cpu").decisions is None
    assert json.loads((run_folder / METRICS).read_text())["decisions"] is None
    good = [products / name / "test" / "good" for name in ("disc", "plate")]
    guarantee = CalibrationConfig(false_alarm_rate=0.5, confidence=0.5, per="product")
    report = calibrate(run_folder, good, guarantee, force=True, device="cpu")
    kept = json.loads((run_folder / METRICS).read_text())["decisions"]
    assert kept["calibration"] == report.calibration.id
    scored = [json.loads(line) for line in (run_folder / SCORES).read_text().splitlines()]
    for kind in kept["kinds"]:
        limit = report.calibration.limits(kind["category"]).score
        own = [one for one in scored if (one["category"], one["defect"]) == (kind["category"], kind["kind"])]
        assert kind["images"] == len(own) == 2
        assert kind["defective"] == sum(one["scores"][-1] > limit for one in own)
    assert {(kind["category"], kind["kind"]) for kind in kept["kinds"]} == {
        (category, kind) for category in ("disc", "plate") for kind in ("scratch", "good")
    }
    again = evaluate(run_folder, products, device="cpu")
    assert again.decisions == report.decisions
    shared = "4 good test images are calibration images: fewer false alarms are among them than among others"
    assert again.notes[-1].startswith(f"{shared} (first: {good[0].absolute()}")
    assert {Path(path).parent for path in kept["calibrated_on"]} == {folder.absolute() for folder in good}
    code, out, err = clipada("evaluate", run_folder, products, "--device", "cpu")
    assert code == 0
    assert "decisions at the calibrated thresholds, which allow 50 % false alarms" in out
    alarms = sum(kind["defective"] for kind in kept["kinds"] if kind["kind"] == "good")
    assert f"false alarms: {alarms} of 4 good parts" in err


def test_a_damaged_calibration_is_refused_before_any_image(run_folder: Path, products: Path) -> None:
    (run_folder / "calibration.json").write_text("{")
    seen: list[Progress] = []
    with pytest.raises(CalibrationError, match="damaged"):
        evaluate(run_folder, products, device="cpu", report=seen.append)
    assert seen == []
    assert not (run_folder / METRICS).exists()


def test_the_run_is_described_by_one_reading(run_folder: Path, products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read twice, a run replaced in between would give one run's figures the other's name."""
    readings: list[Path] = []

    def reading(path: Path, remedy: str) -> dict[str, Any]:
        readings.append(path)
        return read_json(path, remedy)

    monkeypatch.setattr("clipada.runs.description.read_json", reading)
    evaluate(run_folder, products, device="cpu")
    assert readings.count(run_folder / CONFIG) == 1


def test_metrics_are_those_of_the_maps_handed_out(run_folder: Path, products: Path) -> None:
    """Metrics of the maps that ``on_image`` gets, computed against the masks as drawn, are those of the command."""
    seen: list[ScoredImage] = []
    evaluation = evaluate(run_folder, products, device="cpu")
    inspector = Inspector.load(read_run(run_folder), calibrated=False, device="cpu")
    again = evaluate_dataset(inspector.engine, load_dataset(products), inspector.scoring, on_image=seen.append)
    assert again.scores == evaluation.scores
    truth = np.zeros((32, 32), bool)
    truth[8:18, 8:20] = True  # rows 10 to 22 of 40 are 8 to 17.6 of 32, columns 12 to 30 of 48 are 8 to 20
    for category in ("plate", "disc"):
        images = [image for image in seen if image.sample.category == category]
        labels = [image.sample.anomalous for image in images]
        masks = [truth & label for label in labels]
        for index in (0, 1):
            expected: CategoryMetrics = evaluate_maps(
                [image.scores[index] for image in images], labels, [image.maps[index] for image in images], masks
            )
            assert evaluation.passes[index][category] == expected


def test_the_order_of_the_images_changes_nothing(run_folder: Path, products: Path) -> None:
    dataset = load_dataset(products)
    forward, backward = (evaluate(run_folder, d, device="cpu") for d in (dataset, reversed_order(dataset)))
    assert forward.categories["plate"] == backward.categories["plate"]
    assert list(backward.categories) == list(forward.categories)[::-1]


def test_a_failed_evaluation_leaves_the_last_one_as_it_was(run_folder: Path, products: Path) -> None:
    evaluate(run_folder, products, device="cpu")
    before = {name: (run_folder / name).read_bytes() for name in (METRICS, SCORES, CARD)}
    for path in products.glob("*/test/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError):
        evaluate(run_folder, products, device="cpu")
    assert {name: (run_folder / name).read_bytes() for name in before} == before


def test_training_images_among_the_test_images_are_counted_and_written_down(
    run_folder: Path, products: Path, clipada: Callable[..., tuple[int, str, str]]
) -> None:
    """A data set that was split after the training flatters the model."""
    assert evaluate(run_folder, products, device="cpu").trained_on == ()
    copies = [products / "plate" / "test" / "good" / f"copy{index}.png" for index in range(2)]
    for index, copy in enumerate(copies):
        shutil.copy(products / "plate" / "train" / "good" / f"{index:03}.png", copy)
    code, _, err = clipada("evaluate", run_folder, products, "--device", "cpu")
    assert code == 0, err
    said = f"2 test images are training images, so the metrics are too good (first: {copies[0]})"
    assert f"note: {said}" in err
    protocol = json.loads((run_folder / METRICS).read_text())["protocol"]
    assert protocol["trained_on"] == [str(copy) for copy in copies]
    assert said in protocol["notes"]
    card = (run_folder / CARD).read_text()
    assert said.partition(" (first")[0] in card
    assert str(products) not in card  # the card may be published
    assert clipada("report", run_folder)[0] == 0
    assert said in (run_folder / "report.html").read_text()


def test_rules_applied_to_masks_are_counted_and_written_down(run_folder: Path, products: Path) -> None:
    truth = evaluate(run_folder, products, device="cpu")
    masks = sorted((products / "plate" / "ground_truth" / "scratch").iterdir())
    for mask in masks:
        save(mask, ~(np.asarray(PIL.Image.open(mask)) > 0))
    inverted = evaluate(run_folder, products, device="cpu")
    assert inverted.categories == truth.categories
    assert (len(truth.notes), len(inverted.notes)) == (0, 1)
    assert inverted.notes[0].startswith("2 masks: inverted")
    assert str(masks[0]) in inverted.notes[0]
    for mask in masks:
        save(mask, np.zeros((40, 48), bool))
    empty = evaluate(run_folder, products, device="cpu").categories["plate"]
    assert (empty.pixel_ap, empty.image_auroc) == (None, truth.categories["plate"].image_auroc)


def test_the_size_of_the_comparison_is_recorded_and_shown(
    run_folder: Path, products: Path, clipada: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = clipada("evaluate", run_folder, products, "--at", "native", "--device", "cpu")
    assert code == 0, err
    assert "each image's own size" in " ".join(err.split())
    content = json.loads((run_folder / METRICS).read_text())
    assert content["protocol"]["at"] == "native"
    assert "each image's own size" in " ".join((run_folder / CARD).read_text().split())
    code, _, err = clipada("evaluate", run_folder, products, "--at", "nativ", "--device", "cpu")
    assert code == 2
    assert "native" in err


def test_saturated_overlap_is_shown_where_a_category_has_thresholds(
    run_folder: Path, products: Path, clipada: Callable[..., tuple[int, str, str]]
) -> None:
    entry = {"defect_name": "scratch", "pixel_value": 255, "saturation_threshold": 50, "relative_saturation": False}
    (products / "plate" / "defects_config.json").write_text(json.dumps([entry]))
    code, out, err = clipada("evaluate", run_folder, products, "--at", "native", "--device", "cpu")
    assert code == 0, err
    assert "sPRO" in out
    assert "plate: scratch I-AUC" in err
    content = json.loads((run_folder / METRICS).read_text())
    assert list(content["by_kind"]) == ["plate"]
    assert content["categories"]["plate"]["spro"] == content["by_kind"]["plate"]["scratch"]["spro"]
    assert "spro" not in content["categories"]["disc"]
    card = (run_folder / CARD).read_text()
    assert "| AUPRO | sPRO |" in card
    assert "sPRO up to 0.05" in card
    read = read_run(run_folder).metrics
    assert read is not None
    assert read["by_kind"] == content["by_kind"]
