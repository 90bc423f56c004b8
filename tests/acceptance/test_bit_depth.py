"""A camera of 12 bits in 16-bit files: training, calibration, evaluation, prediction and exports read them alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.synthesize import synthesize
from clipada.commands.train import train
from clipada.config import CalibrationConfig, Config, RuntimeConfig
from clipada.config.image_rules import ImageRules
from clipada.images import read_rgb
from clipada.runs import read_run
from file_kinds import png_of_16_bits
from run_folders import unseal
from tiny import tiny_config, write_products

TWELVE = 12


@pytest.fixture(scope="session")
def config(clip_folder: Path) -> Config:
    return tiny_config(clip_folder).updated({"model.prototypes": 6, "training.validation_fraction": 0.2})


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same products as 8-bit files in ``eight`` and as 12 bits in 16-bit files in ``twelve``."""
    folder = tmp_path_factory.mktemp("depth")
    write_products(folder / "eight")
    shutil.copytree(folder / "eight", folder / "twelve")
    for path in (folder / "twelve").rglob("*.png"):
        if "ground_truth" not in path.parts:
            path.write_bytes(in_12_bits(path))
    return folder


@pytest.fixture(scope="session")
def runs(data: Path, config: Config) -> Path:
    """A run on each, in folders of the same names beside the data."""
    for name in ("eight", "twelve"):
        train(data / name, data / "runs" / name, config, runtime=RuntimeConfig(device="cpu", workers=0))
    return data / "runs"


def in_12_bits(path: Path) -> bytes:
    values = np.asarray(PIL.Image.open(path).convert("RGB")).astype(np.uint32)
    return png_of_16_bits((values * 4095 + 127) // 255)


def test_a_training_finds_records_and_applies_the_depth(runs):
    eight, twelve = (read_run(runs / name) for name in ("eight", "twelve"))
    assert (eight.config.model.image_depth, twelve.config.model.image_depth) == (None, TWELVE)
    assert json.loads((runs / "twelve" / "config.json").read_text())["config"]["model"]["image_depth"] == TWELVE
    assert twelve.trained_sha256 == eight.trained_sha256  # the pixels were the same
    assert twelve.training.normal_levels == eight.training.normal_levels
    assert twelve.training.validation == eight.training.validation
    assert twelve.model_sha256 != eight.model_sha256  # since they read 16-bit files differently


def test_a_finished_training_is_resumed_with_the_settings_it_started_with(data, runs, config):
    assert train(data / "twelve", runs / "twelve", config, resume=True).config.model.image_depth == TWELVE


def test_evaluation_calibration_and_verdicts_agree(data, runs, tmp_path, clipada):
    folders = {name: shutil.copytree(runs / name, tmp_path / name) for name in ("eight", "twelve")}
    metrics = [evaluate(folders[name], data / name, device="cpu").categories for name in folders]
    assert metrics[0] == metrics[1]
    good = [sorted((data / name).glob("*/test/good/*.png")) for name in folders]
    lenient = CalibrationConfig(false_alarm_rate=0.5, mode="marginal")
    thresholds = [
        calibrate(folder, paths, lenient, force=True, device="cpu").calibration.pooled
        for folder, paths in zip(folders.values(), good, strict=True)
    ]
    assert thresholds[0] == thresholds[1]
    lines = []
    for name, folder in folders.items():
        outcome = clipada("predict", folder, *sorted((data / name).glob("*/test")), "--device", "cpu")
        assert "is read as" not in outcome.err
        lines.append([record["score"] for record in outcome.records])
    assert lines[0] == lines[1]
    assert lines[0]


def test_every_source_of_an_image_is_read_by_the_depth(data, runs):
    path = next((data / "twelve").glob("plate/test/good/*.png"))
    expected = read_rgb(data / "eight" / path.relative_to(data / "twelve"))
    inspector = Inspector.load(runs / "twelve", device="cpu")
    gray = PIL.Image.fromarray(in_gray(path))
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(inspector.inspect(source).image, expected)
    np.testing.assert_array_equal(inspector.inspect(gray).image[..., 0], expected[..., 0])
    batch = inspector.inspect_batch([path, path.read_bytes()])
    assert [np.array_equal(verdict.image, expected) for verdict in batch] == [True, True]
    (found,) = inspector.inspect_files([path])
    np.testing.assert_array_equal(found.image, expected)


def in_gray(path: Path) -> np.ndarray:
    """The red channel of a file, as a camera gives it."""
    values = np.asarray(PIL.Image.open(path)).astype(np.uint32)[..., 0]
    low = read_rgb(path, ImageRules(depth=TWELVE)).astype(np.uint32)[..., 0]
    assert (values <= 15).all()  # Pillow keeps the upper 8 of 16 bits
    return ((low * 4095 + 127) // 255).astype(np.uint16)


def test_a_sheet_of_synthetic_anomalies_shows_what_is_trained(data, config, tmp_path):
    sheets = [synthesize(data / name, tmp_path / name, config, count=4)[0].read_bytes() for name in ("eight", "twelve")]
    assert sheets[0] == sheets[1]


def test_an_image_of_another_camera_is_no_silent_verdict(data, runs, tmp_path, clipada):
    values = np.asarray(PIL.Image.open(next((data / "eight").glob("plate/test/good/*.png")))).astype(np.uint16)
    (tmp_path / "full.png").write_bytes(png_of_16_bits(values * 257))
    outcome = clipada("predict", runs / "twelve", tmp_path / "full.png", "--device", "cpu")
    assert outcome.code != 0
    assert "score" not in outcome.out
    assert "values of 12 bits, as the run recorded" in outcome.err


def test_a_run_without_the_record_reads_16_bits_as_before(data, runs, tmp_path):
    old = unseal(shutil.copytree(runs / "twelve", tmp_path / "old"))
    content = json.loads((old / "config.json").read_text())
    del content["config"]["model"]["image_depth"]
    (old / "config.json").write_text(json.dumps(content))
    path = next((data / "twelve").glob("plate/test/good/*.png"))
    np.testing.assert_array_equal(Inspector.load(old, device="cpu").inspect(path).image, read_rgb(path))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_exports_read_by_the_depth(data, runs, tmp_path, clipada, engine):
    folder = shutil.copytree(runs / "twelve", tmp_path / "line3")
    outcome = clipada("export", folder, "--engine", engine)
    assert outcome.code == 0, outcome.err
    assert "is read as" not in outcome.err
    path = next((data / "twelve").glob("plate/test/good/*.png"))
    expected = Inspector.load(folder, device="cpu", engine="torch").inspect(path)
    found = Inspector.load(folder, engine=engine).inspect(path)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.score == pytest.approx(expected.score, abs=1e-3)
