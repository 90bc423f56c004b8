"""Runs on the hub: uploaded files, model card, and download of the same run; against a hub of folders, offline."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi, ModelCard

from clipada import Inspector, calibrate, evaluate, push_to_hub, save_pretrained
from clipada.config import CalibrationConfig
from clipada.errors import BackboneError, RunError
from clipada.runs import ENCODERS, read_run, seal
from clipada.runs.hub import is_hub_name
from folder_hub import FolderHub
from tiny import write_good_parts

PUBLISHED = {
    *("config.json", "adapter.safetensors", "prototypes.safetensors", "README.md", "metrics.json"),
    *("training-images.sha256", "input-check.safetensors", "manifest.json"),
}


@pytest.fixture
def evaluated(run_folder: Path, products: Path) -> Path:
    """An evaluated run, in a folder with files that do not belong on the hub."""
    (products / "disc" / "test" / "good" / "000.png").write_bytes(b"")
    evaluate(run_folder, products, device="cpu")
    (run_folder / "report.html").write_text("a report")
    return run_folder


def test_a_run_comes_back_from_the_hub_the_same(
    hub: FolderHub, evaluated: Path, products: Path, clip_folder: Path
) -> None:
    good = products / "plate" / "test" / "good"
    calibrate(evaluated, good, CalibrationConfig(false_alarm_rate=0.5, confidence=0.5), device="cpu")
    assert push_to_hub(evaluated, "plant/line3") == "https://hub.test/plant/line3"
    assert hub.made == {"plant/line3": True}  # private
    assert hub.messages == [f"Upload line3, trained with clipada {read_run(evaluated).clipada_version}"]
    part = products / "plate" / "test" / "scratch" / "000.png"
    here = Inspector.load(evaluated, device="cpu").inspect(part)
    for inspector in (
        Inspector.load("plant/line3", backbone=str(clip_folder), device="cpu"),
        Inspector.from_pretrained("plant/line3", backbone=str(clip_folder), device="cpu"),
    ):
        verdict = inspector.inspect(part)
        np.testing.assert_array_equal(verdict.anomaly_map, here.anomaly_map)
        assert (verdict.score, verdict.p_value) == (here.score, here.p_value)
        assert verdict.calibration is not None
        assert verdict.model is not None
        assert verdict.model.run == "plant/line3"
        assert here.model is not None
        assert verdict.model.sha256 == here.model.sha256


def test_only_the_run_is_uploaded_without_paths_of_this_machine(
    hub: FolderHub, evaluated: Path, tmp_path: Path
) -> None:
    push_to_hub(evaluated, "plant/line3", private=False, revision="trial")
    assert hub.made == {"plant/line3": False}
    folder = hub.root / "plant/line3/trial"
    assert {path.name for path in folder.iterdir()} == PUBLISHED
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"finished0" not in path.read_bytes()  # where it was trained
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["protocol"]["left_out"] == ["000.png"]
    assert not (folder / ENCODERS).exists()
    (evaluated / "exports" / "onnx-fp32").mkdir(parents=True)
    (evaluated / "exports" / "onnx-fp32" / "model.onnx").write_bytes(b"graph")
    assert not (save_pretrained(evaluated, tmp_path / "without") / "exports").exists()
    with pytest.raises(RunError, match=r"model.onnx was added after the run was sealed"):
        save_pretrained(evaluated, tmp_path / "added", exports=True)
    seal(evaluated)
    whole = save_pretrained(evaluated, tmp_path / "with", exports=True)
    assert (whole / "exports" / "onnx-fp32" / "model.onnx").read_bytes() == b"graph"
    with pytest.raises(RunError, match="in the way"):
        save_pretrained(evaluated, tmp_path / "with")


def test_the_card_holds_metrics_data_and_command_as_the_hub_reads_them(
    evaluated: Path, tmp_path: Path, clip_folder: Path
) -> None:
    folder = save_pretrained(evaluated, tmp_path / "out", name="plant/line3", license="apache-2.0")
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert (data.library_name, data.license, data.model_name) == ("clipada", "apache-2.0", "line3")
    assert data.base_model is None  # a folder of this machine, no model of the hub
    run = read_run(evaluated)
    assert run.metrics is not None
    shown = {(result.dataset_config, result.metric_name): result.metric_value for result in data.eval_results}
    assert shown[None, "I-AUC, percent"] == round(100 * run.metrics["mean"]["image_auroc"], 2)
    assert shown["plate", "P-mAP, percent"] == round(100 * run.metrics["categories"]["plate"]["pixel_ap"], 2)
    assert {result.dataset_name for result in data.eval_results} == {"products", "products, plate", "products, disc"}
    assert "# plant/line3: a clipada run" in card.text
    assert "clipada predict plant/line3 IMAGES" in card.text
    assert "12 different images, fingerprint " in card.text
    command = next(line for line in card.text.splitlines() if line.startswith("| command"))
    assert f"clipada train DATA --out line3 --preset mvtec --backbone {clip_folder.name} --set" in command
    assert "--set training.milestones=2" in command


def test_the_command_on_the_card_trains_the_same(
    evaluated: Path, products: Path, tmp_path: Path, clipada: Callable[..., tuple[int, str, str]], clip_folder: Path
) -> None:
    import shlex

    from clipada.report.card import training_command

    words = shlex.split(training_command(read_run(evaluated)))[1:]
    asked = dict(zip(words, [*words[1:], ""], strict=True))
    there = {asked["--out"]: tmp_path / "again", asked["--backbone"]: clip_folder, "DATA": products}
    code, _, err = clipada(*(there.get(word, word) for word in words), "--device", "cpu", "--workers", "0")
    assert code == 0, err
    assert (
        read_run(tmp_path / "again").config.fingerprint_settings() == read_run(evaluated).config.fingerprint_settings()
    )


def test_a_run_without_its_backbone_says_which_it_needs(hub: FolderHub, evaluated: Path, clip_folder: Path) -> None:
    push_to_hub(evaluated, "plant/line3")
    with pytest.raises(BackboneError, match=f"pass --backbone with the path of {clip_folder.name}"):
        Inspector.from_pretrained("plant/line3", device="cpu")


def test_errors_of_the_hub_say_what_to_do(
    hub: FolderHub, evaluated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"no run plant/none here or on the hub(?s:.*)hf auth login(?s:.*)hf download"):
        Inspector.load("plant/none")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(RunError, match=r"cannot push run (?s:.*)no route to host\n(?s:.*)--out FOLDER"):
        push_to_hub(evaluated, "plant/line3")


def test_a_mistyped_folder_is_not_asked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: FolderHub
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "line3").mkdir(parents=True)
    assert is_hub_name("plant/line3")
    for local in ("runs/line3", "runs/line4", "line3", "./plant/line3", "/plant/line3", "a/b/c", "../line3", "~/line3"):
        assert not is_hub_name(local)
    with pytest.raises(RunError, match="no run in runs/line4"):
        Inspector.load("runs/line4")


def test_from_the_command_line(
    hub: FolderHub,
    evaluated: Path,
    products: Path,
    tmp_path: Path,
    clipada: Callable[..., tuple[int, str, str]],
    clip_folder: Path,
) -> None:
    code, _, err = clipada("push", evaluated, "plant/line3", "--out", tmp_path / "out", "--license", "mit")
    assert code == 0, err
    assert f"hf upload plant/line3 {tmp_path / 'out'}" in err
    assert not hub.made
    code, _, err = clipada("push", evaluated, "plant/line3", "--public")
    assert code == 0, err
    assert "the run is at https://hub.test/plant/line3" in err
    assert hub.made == {"plant/line3": False}
    part = products / "plate" / "test" / "scratch" / "000.png"
    code, out, err = clipada("predict", "plant/line3", part, "--backbone", clip_folder, "--device", "cpu")
    assert code == 0, err
    assert json.loads(out)["model"]["run"] == "plant/line3"
    code, _, err = clipada("predict", "plant/line4", part)
    assert code == 2
    assert "no run plant/line4 here or on the hub" in err


def test_a_run_of_the_hub_watches_drift_in_a_database(
    hub: FolderHub,
    run_folder: Path,
    tmp_path: Path,
    clipada: Callable[..., tuple[int, str, str]],
    clip_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sixty parts calibrate; further ones with the lower scores alone are drift, as with the run folder itself."""
    settings = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
    calibrate(run_folder, write_good_parts(tmp_path / "good", 60), settings, device="cpu")
    push_to_hub(run_folder, "plant/line3")
    words = ("--backbone", clip_folder, "--device", "cpu")
    code, out, err = clipada("predict", "plant/line3", write_good_parts(tmp_path / "new", 160, 2), *words)
    assert code == 0, err
    assert "drift" not in caplog.text
    lower = sorted((json.loads(line) for line in out.splitlines()), key=lambda record: record["score"])[:80]
    images, database = sorted(record["path"] for record in lower), f"sqlite:///{tmp_path / 'history.db'}"
    code, _, err = clipada("predict", "plant/line3", *images, *words, "--database", database)
    assert code == 0, err
    assert "drift: since part" in caplog.text
    assert "scores are lower than at calibration" in caplog.text
