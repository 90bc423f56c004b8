"""A training with a region of interest: nothing outside of it is learned, scored or shown, with any engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.errors import RunError
from clipada.inspection import Inspector
from clipada.runs import read_run
from growing import memory_config
from tiny import write_products

RUNTIME = RuntimeConfig(device="cpu", workers=0)
RIGHT = {"size": [48, 40], "polygons": [[[24, 0], [48, 0], [48, 40], [24, 40]]]}
ONLY_LEFT = 20
"""Columns that are outside, with the tokens beside the border."""


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_products(tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def roi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roi") / "right.json"
    path.write_text(json.dumps(RIGHT))
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return memory_config(tmp_path_factory.mktemp("dinov2"), memory__copies="auto", memory__crop=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, products: Path, settings: Config, roi: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPADA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(products, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME, roi=roi).folder


def test_it_is_recorded_sealed_and_decides_the_model(run: Path, tmp_path: Path) -> None:
    described = read_run(run)
    assert described.roi_sha256 is not None
    assert "roi.json" in (described.manifest.files if described.manifest else {})
    changed = shutil.copytree(run, tmp_path / "changed")
    (changed / "roi.json").write_text((run / "roi.json").read_text().replace("24", "25"))
    with pytest.raises(RunError, match=r"roi.json"):
        Inspector.load(changed, device="cpu")


def test_maps_are_zero_outside_and_regions_and_scores_are_of_the_inside(run: Path, products: Path) -> None:
    inspector = Inspector.load(run, device="cpu", engine="torch")
    for path in sorted(products.glob("*/test/*/*.png")):
        verdict = inspector.inspect(path)
        assert verdict.inside is not None
        assert not verdict.anomaly_map[~verdict.inside].any()
        assert not verdict.inside[:, :ONLY_LEFT].any()
        assert all(region.box[0] >= ONLY_LEFT for region in verdict.regions)
        overlay = np.asarray(verdict.overlay())
        assert overlay.shape[2] == 3


def test_a_memory_has_no_row_of_the_outside(products: Path, settings: Config, roi: Path, tmp_path: Path) -> None:
    """Training images whose left half is different give the same rows and statistics, where tokens see one patch."""
    other = tmp_path / "other"
    for path in sorted(products.rglob("*.png")):
        image = np.asarray(PIL.Image.open(path)).copy()
        if "ground_truth" not in path.parts:
            image[:, :8] = 255 - image[:, :8]
        place = other / path.relative_to(products)
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(place)
    quick = settings.updated({"filter.images": 0, "memory.copies": "none"})
    plain, changed = (
        Inspector.load(train(data, tmp_path / name, quick, runtime=RUNTIME, roi=roi).folder, device="cpu")
        for name, data in (("one", products), ("two", other))
    )
    head = plain.engine.model.head  # type: ignore[attr-defined]
    other_head = changed.engine.model.head  # type: ignore[attr-defined]
    assert head.bank.rows.shape == other_head.bank.rows.shape
    inside = head.bank.inside
    assert 0 < float(inside.mean()) < 0.75  # the tokens of the right half, and those of its border


def test_evaluation_counts_the_inside_and_says_so(run: Path, products: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    found = evaluate(folder, products, device="cpu", engine="torch")
    assert "region of interest" in found.protocol["region_of_interest"]
    assert set(found.categories) == {"plate", "disc"}


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_exports_agree_and_mask_their_maps(run: Path, products: Path, tmp_path: Path, runtime: str) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    assert not export(folder, runtime, "fp32", products)[1].failures
    path = next(products.glob("plate/test/scratch/*.png"))
    expected = Inspector.load(folder, device="cpu", engine="torch").inspect(path)
    found = Inspector.load(folder, device="cpu", engine=runtime).inspect(path)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-4)
    np.testing.assert_array_equal(found.inside, expected.inside)
    assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_a_resumed_training_keeps_it_and_refuses_another(
    run: Path, products: Path, settings: Config, roi: Path, tmp_path: Path
) -> None:
    from clipada.training.resume import prepare_training

    job = prepare_training(products, tmp_path / "run", settings, roi=roi)
    job.save(tmp_path / "run")  # type: ignore[union-attr]
    again = prepare_training(None, tmp_path / "run", resume=True)
    assert again.regions == job.regions  # type: ignore[union-attr]
    other = tmp_path / "left.json"
    other.write_text(json.dumps({"size": [48, 40], "polygons": [[[0, 0], [24, 0], [24, 40], [0, 40]]]}))
    with pytest.raises(RunError, match="--roi contradicts the training that is resumed"):
        prepare_training(None, tmp_path / "run", resume=True, roi=other)


def test_a_run_without_a_memory_is_masked_in_scoring(
    clip_folder: Path, products: Path, roi: Path, tmp_path: Path
) -> None:
    from tiny import tiny_config

    folder = train(products, tmp_path / "run", tiny_config(clip_folder), runtime=RUNTIME, roi=roi).folder
    inspector = Inspector.load(folder, device="cpu", engine="torch")
    path = next(products.glob("plate/test/good/*.png"))
    verdict = inspector.inspect(path)
    assert verdict.inside is not None
    assert not verdict.anomaly_map[~verdict.inside].any()
    assert verdict.anomaly_map[verdict.inside].any()
