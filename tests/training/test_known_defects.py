"""Known defects: what a training learns from their photos, and that nothing is lost where it learns nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from backbone_families import make_backbone
from boxes import write_boxes
from clipada.commands.add import add_parts
from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.train import train
from clipada.config import Config, EngineOptions, ExportConfig, RuntimeConfig
from clipada.data import Dataset, read_batches
from clipada.data.masks import read_marked
from clipada.engines.exports import find_export, open_export
from clipada.engines.torch import TorchEngine
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.report.card import run_summary, training_command
from clipada.runs import Run, load_model, read_run
from clipada.runs.contents import DEFECTS
from clipada.training.resume import TrainingJob, prepare_training
from clipada.types import Sample
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0, cache_gigabytes=0)


def part(rng: np.random.Generator) -> np.ndarray:
    """A part whose surface differs from place to place, so that faint marks are nothing unusual."""
    rough = 22 * rng.normal(size=(64, 64, 1)) * (rng.random((64, 64, 1)) < 0.4)
    return np.clip(110 + rough + rng.normal(0, 3, (64, 64, 3)), 0, 255).astype(np.uint8)


def marked(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    image, mask = part(rng), np.zeros((64, 64), np.uint8)
    top, left = rng.integers(8, 40, 2)
    mask[top : top + 16, left : left + 16] = 255
    color = (110, 92, 110) if kind == "stain" else (128, 110, 110)
    image[mask > 0] = np.clip(color + rng.normal(0, 3, (256, 3)), 0, 255).astype(np.uint8)
    return image, mask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for index in range(12):
        save(root / "nut" / "train" / "good" / f"{index}.png", part(rng))
        save(root / "nut" / "test" / "good" / f"{index}.png", part(rng))
        for kind in ("stain", "smear"):
            image, mask = marked(rng, kind)
            save(root / "nut" / "test" / kind / f"{index}.png", image)
            save(root / "nut" / "ground_truth" / kind / f"{index}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The first five stains, with their masks."""
    root = tmp_path_factory.mktemp("defects")
    for index in range(5):
        copy(data / "nut" / "test" / "stain" / f"{index}.png", root / "stain")
        copy(data / "nut" / "ground_truth" / "stain" / f"{index}_mask.png", root / "masks" / "stain")
    return root


def copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")
    return Config.preset("quick").updated(
        {"backbone.name": str(folder), "backbone.blocks": (1, 2), "model.image_size": 64, "memory.rows": 96}
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, data: Path, settings: Config) -> Run:
    return train(data, tmp_path_factory.mktemp("plain") / "run", settings, runtime=RUNTIME)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path, defects: Path, settings: Config) -> Run:
    return train(data, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME, defects=defects)


def images(data: Path, kind: str) -> np.ndarray:
    paths = sorted((data / "nut" / "test" / kind).iterdir())
    return next(iter(read_batches(paths, (64, 64), 16, 1))).images


def test_known_kinds_stand_out_more(run: Run, plain: Run, data: Path) -> None:
    learned = run.training.defects["nut"]
    assert (learned.photos, learned.used, learned.kinds) == (5, 5, {"stain": 5})
    assert learned.weight > 0
    without, found = (evaluate(one.folder, data, engine="torch", device="cpu") for one in (plain, run))
    assert found.categories["nut"].pixel_ap > without.categories["nut"].pixel_ap + 0.05


def test_photos_that_were_learned_from_are_not_tested_on(run: Run, plain: Run, data: Path) -> None:
    without, found = (evaluate(one.folder, data, engine="torch", device="cpu") for one in (plain, run))
    assert without.categories["nut"].n_anomalous == 24
    assert found.categories["nut"].n_anomalous == 19
    assert len(found.protocol["learned_defects"]) == 5
    assert "5 test images left out: the run has learned from these defects" in found.notes[0]
    assert not any("left out" in note for note in without.notes)
    assert {Path(one["path"]).name for one in found.scores if one["defect"] == "stain"} == {
        f"{i}.png" for i in range(5, 12)
    }


def test_a_run_of_nothing_but_known_defects_has_nothing_to_be_tested_on(run: Run, defects: Path) -> None:
    samples = tuple(
        Sample(path=path, category="nut", split="test", defect="stain")
        for path in sorted((defects / "stain").iterdir())
    )
    with pytest.raises(DatasetError, match="nothing to test on"):
        evaluate(run.folder, Dataset(root=defects, layout="folder", samples=samples), engine="torch", device="cpu")


def test_memory_alone_is_what_a_gain_is_added_to(run: Run, plain: Run, data: Path) -> None:
    assert (run.memory_sha256, run.training.normal_levels) == (plain.memory_sha256, plain.training.normal_levels)
    assert run.model_sha256 != plain.model_sha256
    for kind, gained in (("good", False), ("stain", True)):
        before, after = (TorchEngine(load_model(one), "cpu").localize(images(data, kind)) for one in (plain, run))
        assert before.scores is not None
        assert after.scores is not None
        assert (after.maps >= before.maps - 1e-6).all()
        assert (after.scores >= before.scores - 1e-6).all()
        assert bool(np.median(after.scores - before.scores) > 0.01) == gained


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_exports_contain_what_was_learned(run: Run, data: Path, runtime: str) -> None:
    _, parity = export(run.folder, runtime, "fp32", data)
    assert not parity.failures
    options = EngineOptions(name=runtime, precision="fp32", device="cpu")
    exported = open_export(*find_export(read_run(run.folder), options), options)
    expected, found = (
        TorchEngine(load_model(run), "cpu").localize(images(data, "stain")),
        exported.localize(images(data, "stain")),
    )
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_int8_finds_known_kinds_as_well(run: Run, data: Path, runtime: str) -> None:
    """Directions stay exact: they would enlarge the error of rounded ones."""
    few = ExportConfig(images=4, calibration_images=8, image_auroc_loss=0.02, pixel_ap_loss=0.02)
    _, parity = export(run.folder, runtime, "int8", data, config=few)
    assert parity.metrics is not None
    options = EngineOptions(name=runtime, precision="int8", device="cpu")
    exported = open_export(*find_export(read_run(run.folder), options), options)
    for kind in ("good", "stain"):
        expected, found = (engine.localize(images(data, kind)) for engine in (torch_engine(run), exported))
        np.testing.assert_allclose(found.scores, expected.scores, atol=0.05)


def torch_engine(run: Run) -> TorchEngine:
    return TorchEngine(load_model(run), "cpu")


@pytest.mark.slow
def test_training_is_reproducible_and_its_record_says_what_was_learned(
    run: Run, data: Path, defects: Path, settings: Config, tmp_path: Path
) -> None:
    again = train(data, tmp_path / "again", settings, runtime=RUNTIME, defects=defects)
    assert again.defects_sha256 == run.defects_sha256
    assert again.defect_sha256s == run.defect_sha256s
    assert len(again.defect_sha256s) == 5
    summary = run_summary(again)
    assert "5 of 5 photos of known defects used" in summary["known defects"]
    assert training_command(again).endswith(f"--defects {defects.name}")
    assert "5 of 5 photos" in (again.folder / "README.md").read_text()


@pytest.mark.slow
def test_boxes_and_labels_alone_teach_too(data: Path, settings: Config, tmp_path: Path) -> None:
    for way in ("boxes", "labels"):
        folder = tmp_path / way
        for index in range(6):
            copy(data / "nut" / "test" / "stain" / f"{index}.png", folder)
        if way == "boxes":
            marks = {
                f"{i}.png": read_marked(data / "nut" / "ground_truth" / "stain" / f"{i}_mask.png") for i in range(6)
            }
            write_boxes(folder / "boxes.json", {name: box_around(mask) for name, mask in marks.items()}, (64, 64))
        learned = train(data, tmp_path / f"run of {way}", settings, runtime=RUNTIME, defects=folder).training.defects[
            "nut"
        ]
        assert learned.photos == 6
        assert learned.auroc_with is None or learned.auroc_with >= (learned.auroc_without or 0) - 1e-9
        if way == "boxes":
            assert learned.used == 6
            assert learned.weight > 0


def box_around(mask: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(mask)
    return [float(columns.min()), float(rows.min()), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]


@pytest.mark.slow
def test_what_would_not_help_is_not_used(plain: Run, data: Path, settings: Config, tmp_path: Path) -> None:
    """Photos of good parts called defects raise no other good part but by chance."""
    for index in range(6):
        copy(data / "nut" / "test" / "good" / f"{index}.png", tmp_path / "defects")
        save(tmp_path / "defects" / f"{index}_mask.png", np.pad(np.full((8, 8), 255, np.uint8), 28))
    run = train(data, tmp_path / "run", settings, runtime=RUNTIME, defects=tmp_path / "defects")
    others = images(data, "good")[6:]
    before, after = (TorchEngine(load_model(one), "cpu").localize(others).scores for one in (plain, run))
    assert before is not None
    assert after is not None
    assert np.median(after - before) < 1e-6
    one = tmp_path / "one"
    copy(data / "nut" / "test" / "stain" / "0.png", one)
    single = train(data, tmp_path / "single", settings, runtime=RUNTIME, defects=one)
    assert single.training.defects["nut"].weight == 0
    assert single.defects_sha256 is None
    assert len(single.defect_sha256s) == 1


def test_a_killed_training_goes_on_with_the_same_photos(
    data: Path, defects: Path, settings: Config, tmp_path: Path
) -> None:
    job = prepare_training(data, tmp_path, settings, defects=defects)
    assert isinstance(job, TrainingJob)
    job.plan.save(tmp_path)
    resumed = prepare_training(None, tmp_path, resume=True)
    assert isinstance(resumed, TrainingJob)
    assert resumed.defects.sha256s == job.defects.sha256s
    with pytest.raises(RunError, match="known defects"):
        prepare_training(None, tmp_path, resume=True, defects=data)


def test_wrong_uses_are_errors(data: Path, defects: Path, settings: Config, tmp_path: Path) -> None:
    no_memory = settings.updated({"memory.rows": 0, "training.epochs": 1})
    with pytest.raises(ConfigError, match="without a memory"):
        prepare_training(data, tmp_path / "run", no_memory, defects=defects)
    with pytest.raises(DatasetError, match="is also a training image"):
        prepare_training(data, tmp_path / "run", settings, defects=data / "nut" / "train" / "good")


def test_a_damaged_file_is_an_error(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / DEFECTS).write_bytes(b"damaged")
    with pytest.raises(RunError, match="defects"):
        load_model(read_run(folder))


@pytest.mark.slow
def test_more_products_can_be_added_to_the_memory(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    before = TorchEngine(load_model(read_run(folder)), "cpu").localize(images(data, "stain"), ["nut"] * 12)
    rng = np.random.default_rng(5)
    for index in range(5):
        save(tmp_path / "bolt" / f"{index}.png", 255 - part(rng))
    add_parts(folder, tmp_path / "bolt", product="bolt", runtime=RUNTIME)
    after = TorchEngine(load_model(read_run(folder)), "cpu").localize(images(data, "stain"), ["nut"] * 12)
    np.testing.assert_allclose(after.maps, before.maps, atol=1e-6)
