"""Data, runs and output folders that cannot be used, for every command that takes them."""

import json
from pathlib import Path

import numpy as np

from clipada.runs import ADAPTER, CONFIG, METRICS
from command_line import Command, noise
from tiny import save


def test_missing_paths_are_named(clipada: Command, train: Command, finished_run: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    train(missing).refused(f"no data set folder {missing}", "nothing")
    clipada("synthesize", missing, "--out", tmp_path / "out").refused(f"no data set folder {missing}")
    clipada("evaluate", finished_run, missing).refused(f"no data set folder {missing}")
    clipada("predict", finished_run, missing).refused(f"no such file or folder: {missing}")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_no_data(clipada: Command, train: Command, finished_run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    train(empty).refused(f"no data set with images in {empty}", "mvtec:", "visa:", "folder:")
    clipada("evaluate", finished_run, empty).refused("no data set with images")
    clipada("predict", finished_run, empty).refused("no images found", str(empty))
    (empty / "note.txt").write_text("x")
    train(empty).refused("no data set with images", "got:")
    train(empty / "note.txt").refused("no data set folder", "a file")


def test_a_dataset_without_defects_trains_but_cannot_be_tested(
    clipada: Command, train: Command, finished_run: Path, tmp_path: Path
) -> None:
    for index in range(3):
        save(tmp_path / "parts" / f"{index}.png", noise(seed=index))
    assert train(tmp_path / "parts").code == 0
    clipada("evaluate", finished_run, tmp_path / "parts").refused("nothing to test on", "3 training images only")


def test_a_dataset_without_normals_is_tested_but_cannot_be_trained_on(
    clipada: Command, train: Command, run_folder: Path, tmp_path: Path
) -> None:
    save(tmp_path / "parts" / "anomalous" / "0.png", noise())
    train(tmp_path / "parts").refused("nothing to train on", "images of good parts")
    clipada("synthesize", tmp_path / "parts", "--out", tmp_path / "out").refused("nothing to train on")
    outcome = clipada("evaluate", run_folder, tmp_path / "parts")
    assert outcome.code == 0, outcome.err
    assert "1 anomalous image without a mask" in outcome.err
    assert "–" in outcome.out


def test_evaluation_leaves_out_what_cannot_be_used(clipada: Command, run_folder: Path, products: Path) -> None:
    (products / "disc" / "test" / "good" / "000.png").write_bytes(b"")
    save(products / "plate" / "ground_truth" / "scratch" / "000_mask.png", np.eye(7, dtype=bool))
    outcome = clipada("evaluate", run_folder, products)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("left out: ") == 2
    assert "an empty file" in outcome.err
    assert "does not match image" in outcome.err
    assert len(json.loads((run_folder / METRICS).read_text())["protocol"]["left_out"]) == 2


def test_a_run_that_is_none_is_named(
    clipada: Command, finished_run: Path, run_folder: Path, parts: Path, tmp_path: Path
) -> None:
    image = parts / "disc" / "test" / "good" / "000.png"
    for folder, got in ((tmp_path / "missing", "no such folder"), (parts, "no config.json"), (image, "a file")):
        for words in (("info", folder), ("evaluate", folder, parts), ("predict", folder, image)):
            outcome = clipada(*words)
            assert f"no run in {folder}" in outcome.err
            assert got in outcome.err
            assert "train one with `clipada train`" in outcome.err
            assert outcome.code == 2
            assert outcome.out == ""
    (run_folder / ADAPTER).write_bytes((run_folder / ADAPTER).read_bytes()[:500])
    clipada("predict", run_folder, image).refused(f"{run_folder / ADAPTER} is not the file", "copy the whole")
    (run_folder / ADAPTER).unlink()
    clipada("info", run_folder).refused(f"run {run_folder} is incomplete", ADAPTER)
    (run_folder / CONFIG).write_text("{")
    clipada("info", run_folder).refused(f"{run_folder / CONFIG} is damaged")


def test_out_in_the_way_is_refused_before_any_work(
    clipada: Command, train: Command, finished_run: Path, products: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("x")
    train(products).refused(f"run folder {tmp_path / 'new'} is in the way", "a folder with files", "another --out")
    file = tmp_path / "file"
    file.write_text("thesis")
    sheet = ("synthesize", products, "--count", 1, "--set", "model.image_size=32")
    for out in (file, file / "inside"):
        clipada("predict", finished_run, products, "--out", out).refused(f"cannot write into {out}", "another --out")
        clipada(*sheet, "--out", out).refused(f"cannot write into {out}", "another --out")
        for resume in ([], ["--resume"]):
            train(products, "--out", out, *resume).refused(str(out), "another --out")
    assert file.read_text() == "thesis"
