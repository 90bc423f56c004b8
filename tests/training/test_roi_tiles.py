"""Regions of interest with tiles: tiles that show nothing of it are never read, others count what they show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipada.commands.add import add_parts
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.train import train
from clipada.config import Config, ExportConfig, RuntimeConfig
from clipada.data import load_dataset
from clipada.engines.export.images import calibration_inputs
from clipada.engines.tiled import TiledEngine, image_tiles
from clipada.images.roi import RegionOfInterest, RegionsOfInterest
from clipada.inspection import Inspector
from clipada.runs import load_model, read_run
from clipada.runs.roi import load_roi
from clipada.training.pool import draw_pool
from clipada.training.validation import ROUNDS, validate
from clipada.training.views import read_views
from clipada.types import Verdict
from growing import memory_config
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0)
SIZE = (192, 240)
FROM = 130
"""First column of the region of interest: 12 of the 20 tiles of 64 pixels show some of it."""
RIGHT = {"size": [240, 192], "polygons": [[[FROM, 0], [240, 0], [240, 192], [FROM, 192]]]}
INSIDE, BESIDE = (slice(90, 104), slice(180, 194)), (slice(90, 104), slice(96, 110))
"""A defect in the region of interest, and one outside of it, in a tile that shows some of it."""

Command = Callable[..., tuple[int, str, str]]


def texture(rng: np.random.Generator, *defects: tuple[slice, slice]) -> np.ndarray:
    image = np.clip(120 + rng.normal(0, 4, (*SIZE, 3)), 0, 255).astype(np.uint8)
    for place in defects:
        image[place] = 250 - image[place] // 2
    return image


@pytest.fixture(scope="module")
def cloth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of cloth, three times as large as the model's input, with a hole inside or beside the region."""
    root, rng = tmp_path_factory.mktemp("cloth"), np.random.default_rng(0)
    for index in range(4):
        save(root / "cloth" / "train" / "good" / f"{index:03}.png", texture(rng))
    for index, (defects, kind) in enumerate((((), "good"), ((INSIDE,), "hole"), ((BESIDE,), "beside"))):
        save(root / "cloth" / "test" / kind / f"{index:03}.png", texture(rng, *defects))
        mask = np.zeros(SIZE, bool)
        for place in defects:
            mask[place] = True
            save(root / "cloth" / "ground_truth" / kind / f"{index:03}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def roi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roi") / "right.json"
    path.write_text(json.dumps(RIGHT))
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("dinov2")
    return memory_config(folder, memory__copies="auto", memory__whole=True, inspection__view="tiles")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cloth: Path, settings: Config, roi: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPADA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(cloth, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME, roi=roi).folder


@pytest.fixture(scope="module")
def inspector(run: Path) -> Inspector:
    return Inspector.load(run, device="cpu", engine="torch")


def photo(cloth: Path, kind: str) -> Path:
    return next((cloth / "cloth" / "test" / kind).iterdir())


def test_the_command_line_trains_and_says_what_it_skips(
    clipada: Command, cloth: Path, settings: Config, roi: Path, tmp_path: Path
) -> None:
    chosen = {"backbone.blocks": "1,2", "model.image_size": 64, "memory.rows": 96, "inspection.view": "tiles"}
    words = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    backbone, out = settings.backbone.name, tmp_path / "run"
    code, _, err = clipada(
        *("train", cloth, "--out", out, "--roi", roi, "--preset", "quick", "--backbone", backbone),
        *("--device", "cpu", "--workers", "0", *words),
    )
    assert code == 0
    assert "region of interest: cloth 46% of the image" in err
    assert "cloth: 8 of 20 tiles of an image show nothing of the region of interest and are not read" in err
    assert read_run(out).training.tiles == {"cloth": (12, 8)}
    code, found, err = clipada("predict", out, cloth / "cloth" / "test" / "hole", "--device", "cpu")
    assert code == 0
    assert "not read: 8 of 20 tiles, which show nothing of the region of interest" in err
    assert all(region["box"][0] >= FROM for region in json.loads(found)["regions"])
    _, found, _ = clipada("info", out)
    assert "8 of 20 tiles of an image" in " ".join(found.split())


def test_tiles_of_the_outside_are_never_read_and_the_map_is_0_there(inspector: Inspector, cloth: Path) -> None:
    assert isinstance(inspector.engine, TiledEngine)
    read, whole = [], inspector.engine.engine.localize

    def counting(images: np.ndarray, *others: Any) -> Any:
        read.append(len(images))
        return whole(images, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspector.engine.engine, "localize", counting)
        verdict = inspector.inspect(photo(cloth, "hole"))
    assert sum(read) == 1 + 12
    assert verdict.inside is not None
    assert not verdict.inside[:, :FROM].any()
    assert not verdict.anomaly_map[:, :FROM].any()
    row, column = np.unravel_index(verdict.anomaly_map.argmax(), SIZE)
    assert INSIDE[0].start - 6 <= row <= INSIDE[0].stop + 6
    assert INSIDE[1].start - 6 <= column <= INSIDE[1].stop + 6


def test_a_defect_beside_the_region_raises_no_score_in_the_tile_that_shows_both(
    inspector: Inspector, cloth: Path
) -> None:
    good, beside, inside = (inspector.inspect(photo(cloth, kind)).score for kind in ("good", "beside", "hole"))
    assert abs(beside - good) < 0.2 * (inside - good)


def test_the_region_of_a_whole_image_is_the_same_given_or_known(inspector: Inspector) -> None:
    """A whole image taken for a tile has the map and the score that it has with its product's own region."""
    engine = inspector.engine
    assert isinstance(engine, TiledEngine)
    assert engine.regions is not None
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    inside = np.stack([engine.regions.inside("cloth", (64, 64))] * 2)
    known, given = engine.localize(images, ["cloth"] * 2), engine.localize(images, ["cloth"] * 2, inside)
    np.testing.assert_allclose(given.maps, known.maps, atol=1e-6)
    np.testing.assert_allclose(given.scores, known.scores, atol=1e-6)
    one_tile = engine.localize_image(images[0], images[0], "cloth")
    np.testing.assert_allclose(one_tile.maps, known.maps[:, 0], atol=1e-5)
    assert one_tile.score == pytest.approx(known.score(0), abs=1e-5)


def test_an_image_score_counts_what_is_inside_of_a_tile_alone(inspector: Inspector) -> None:
    """With a region of a single token, all that is far from it leaves the map and the score as of good parts."""
    engine = inspector.engine
    assert isinstance(engine, TiledEngine)
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    corner = np.zeros((1, 64, 64), bool)
    corner[:, :8, :8] = True
    every, one = (engine.localize(image, ["cloth"], inside) for inside in (np.ones_like(corner), corner))
    assert one.maps[0, 0, 20:, 20:].max() < 0.5 * every.maps[0, 0, 20:, 20:].min()
    assert one.scores is not None
    assert every.scores is not None
    assert one.scores[0] < every.scores[0]


def test_training_reads_no_tile_of_the_outside(cloth: Path, settings: Config) -> None:
    regions = RegionsOfInterest(products={"cloth": RegionOfInterest.from_dict(RIGHT)})
    config = settings.updated({"inspection.tile": 64})
    paths = sorted((cloth / "cloth" / "train" / "good").iterdir())
    views = read_views("cloth", paths, config, 1, regions)
    assert (len(views.images), views.tiles, views.skipped) == (4 + 4 * 12, 12, 8)
    assert views.regions is not None
    assert all(views.regions[view].any() for view in range(len(views.images)))
    assert views.regions[0][:, 36:].all()
    assert not views.regions[0][:, :34].any()
    tiles = image_tiles(config.inspection, (64, 64), SIZE)
    assert len(tiles) == 20
    partly = sum(not views.regions[view].all() for view in range(4, len(views.images)))
    assert partly == 4 * 4  # the third column of tiles
    other = read_views("silk", paths, config, 1, regions)
    assert other.regions is None
    assert len(other.images) == 4 + 4 * 20
    drawn = draw_pool(views.images, {"cloth": views.images}, 24, (8, 8), np.random.default_rng(0), views.regions)
    for batch in drawn:
        for image, source, mask in zip(batch.images, batch.sources.tolist(), batch.masks, strict=True):
            outside = ~views.regions[source]
            np.testing.assert_array_equal(image[outside], views.images[source][outside])
            cells = torch.nn.functional.max_pool2d(torch.from_numpy(views.regions[source])[None].float(), 2)[0] > 0
            assert not (mask & ~cells).any()


def test_thresholds_evaluation_and_additions_are_of_the_inside(run: Path, cloth: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    found = calibrate(folder, (), engine="torch", device="cpu").calibration
    assert len({image.score for image in found.images}) == 4
    evaluation = evaluate(folder, cloth, at="native", engine="torch", device="cpu")
    scores = {Path(record["path"]).parent.name: record["scores"][-1] for record in evaluation.scores}
    assert scores["hole"] > scores["good"]
    assert "region of interest" in evaluation.protocol["region_of_interest"]
    inspector = Inspector.load(folder, engine="torch", device="cpu")
    assert inspector.inspect(photo(cloth, "hole"), "cloth").score == pytest.approx(scores["hole"], abs=1e-5)
    rng = np.random.default_rng(7)
    for index in range(3):
        save(tmp_path / "evening" / f"{index}.png", (texture(rng) // 2).astype(np.uint8))
    added = add_parts(folder, tmp_path / "evening", product="cloth", condition="evening", runtime=RUNTIME)
    changed = Inspector.load(added.run, engine="torch", device="cpu", calibrated=False)
    verdict = changed.inspect(tmp_path / "evening" / "0.png", "cloth")
    assert verdict.anomaly_map.any()
    assert not verdict.anomaly_map[:, :FROM].any()


def test_held_out_images_are_validated_in_the_views_of_the_run(run: Path, cloth: Path) -> None:
    """Whole images find their product and have its region; tiles are given both."""
    described = read_run(run)
    model, regions = load_model(described), load_roi(described)
    samples = [sample for sample in load_dataset(cloth).train if sample.split == "train"]
    given, plain = [], model.run

    def recorded(images: torch.Tensor, text: torch.Tensor, products: torch.Tensor, inside: torch.Tensor) -> Any:
        given.append((images, products, inside))
        return plain(images, text, products, inside)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "run", recorded)
        found = validate(model, samples, described.config, 1, regions)
    images, products, inside = (torch.cat(parts) for parts in zip(*given, strict=True))
    assert len(images) == ROUNDS * (4 + 4 * 12)
    assert int((products < 0).sum()) == ROUNDS * 4
    assert inside.flatten(1).any(dim=1).all()
    metrics = found["0"]["cloth"]
    assert metrics.n_normal + metrics.n_anomalous == len(images)


def test_int8_is_calibrated_with_whole_images_and_tiles_that_show_the_region(inspector: Inspector, cloth: Path) -> None:
    inputs = calibration_inputs(inspector.engine, load_dataset(cloth), 12)
    assert len(inputs) == 12
    whole = [one for one in inputs if one["products"][0] < 0]
    assert len(whole) == 3
    assert all((one["inside"] == -1).all() for one in whole)
    tiles = [one for one in inputs if one["products"][0] == 0]
    assert len(tiles) == 9
    assert all((one["inside"] == 1).any() and (one["inside"] >= 0).all() for one in tiles)


@pytest.mark.slow
def test_int8_is_judged_by_whole_inspections(run: Path, cloth: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    _, parity = export(folder, "onnx", "int8", cloth, config=ExportConfig(calibration_images=12), force=True)
    assert parity.practice is not None
    assert parity.practice.images == 7
    assert parity.differences.images > 7  # views
    assert parity.metrics is not None
    evaluation = evaluate(folder, cloth, engine="torch", device="cpu")
    assert parity.metrics["torch"]["image_auroc"] == pytest.approx(evaluation.categories["cloth"].image_auroc)
    assert not Inspector.load(folder, engine="onnx").inspect(photo(cloth, "hole")).anomaly_map[:, :FROM].any()


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_exports_and_batches_agree(run: Path, cloth: Path, tmp_path: Path, runtime: Any) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    assert not export(folder, runtime, "fp32", cloth)[1].failures
    reference = Inspector.load(folder, engine="torch", device="cpu")
    exported = Inspector.load(folder, engine=runtime)
    paths = [photo(cloth, kind) for kind in ("good", "hole", "beside")]
    expected = [reference.inspect(path) for path in paths]
    for batch_size in (1, 8):
        for one, other in zip(exported.inspect_files(paths, batch_size=batch_size), expected, strict=True):
            assert isinstance(one, Verdict)
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert np.abs(one.anomaly_map - other.anomaly_map).max() < 1e-3
            np.testing.assert_array_equal(one.inside, other.inside)
