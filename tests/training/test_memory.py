"""A memory of good parts with its filter: trained, saved, loaded, exported; it finds defects it has not seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clipada.commands.evaluate import GIVEN, evaluate
from clipada.commands.export import export
from clipada.commands.train import train
from clipada.config import BackboneConfig, Config, EngineOptions, RuntimeConfig
from clipada.data import load_dataset, read_batches
from clipada.engines.exports import find_export, open_export
from clipada.engines.torch import TorchEngine
from clipada.errors import ConfigError, RunError
from clipada.inspection import Inspector
from clipada.models.backbones import Backbone, load_backbone
from clipada.report.card import run_summary
from clipada.runs import load_model, read_run
from clipada.training.part_box import WHOLE
from clipada.types import Verdict
from growing import memory_config
from tiny import write_products


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_products(tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return memory_config(tmp_path_factory.mktemp("dinov2"), memory__copies="auto")


RUNTIME = RuntimeConfig(device="cpu", workers=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, products: Path, settings: Config) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPADA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(products, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME).folder


def images_of(products: Path, size: int = 64) -> np.ndarray:
    dataset = load_dataset(products)
    return next(iter(read_batches([sample.path for sample in dataset.test], (size, size), 8, 1))).images


def test_the_run_contains_memory_and_filter(run: Path) -> None:
    described = read_run(run)
    assert described.memory_sha256
    assert described.filter_sha256
    head = load_model(described).head
    assert head is not None
    assert head.bank.products == ("disc", "plate")
    assert head.bank.rows.shape == (2, 2, 96, 32)
    assert described.training.normal_levels.keys() == {"disc", "plate"}
    assert all(0 < value <= 1 for value in described.training.coverage.values())


def test_defects_of_no_synthetic_kind_are_found(run: Path, products: Path) -> None:
    found = evaluate(run, products, engine="torch", device="cpu")
    assert all(metrics.image_auroc == 1 for metrics in found.categories.values())
    assert all(metrics.pixel_auroc is not None and metrics.pixel_auroc > 0.9 for metrics in found.categories.values())


def test_training_is_reproducible_with_and_without_a_cache(
    tmp_path: Path, products: Path, settings: Config, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPADA_CACHE", str(tmp_path / "cache"))
    plain = RuntimeConfig(device="cpu", workers=0, cache_gigabytes=0)
    again = train(products, tmp_path / "again", settings, runtime=plain)
    assert not (tmp_path / "cache").exists()
    cached = [train(products, tmp_path / f"cached{turn}", settings, runtime=RUNTIME) for turn in range(2)]
    assert list((tmp_path / "cache").rglob("*.npy"))
    expected = read_run(run)
    for other in (again, *cached):
        assert (other.memory_sha256, other.filter_sha256) == (expected.memory_sha256, expected.filter_sha256)


def test_a_memory_keeps_to_its_megabytes(
    products: Path, settings: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for limit, rows in ((0.0, 96), (0.005, 72), (1e-4, 8)):  # 68 bytes in two blocks
        changed = settings.updated({"memory.megabytes": limit, "filter.images": 0})
        run = train(products, tmp_path / str(limit), changed, runtime=RUNTIME).folder
        head = load_model(read_run(run)).head
        assert head is not None
        assert head.bank.rows.shape[2] == rows
        assert ("at most" in run_summary(read_run(run))["memory"]) == bool(limit)
    assert "more memory.megabytes and memory.rows may help" in caplog.text


def test_rows_are_searched_by_an_index_where_it_is_measured(
    run: Path, products: Path, settings: Config, tmp_path: Path
) -> None:
    few = read_run(run)
    head = load_model(few).head
    assert head is not None
    assert head.bank.index is None
    assert not few.training.recall
    changed = settings.updated({"memory.search": "indexed", "filter.images": 0})
    indexed = train(products, tmp_path / "indexed", changed, runtime=RUNTIME)
    assert indexed.training.recall.keys() == {"disc", "plate"}
    assert all(value > 0.98 for value in indexed.training.recall.values())  # 32 channels fit in the index
    head = load_model(indexed).head
    assert head is not None
    assert head.bank.index is not None
    assert "by an index" in (indexed.folder / "README.md").read_text()


def test_the_product_is_found_or_given(run: Path, products: Path) -> None:
    engine, images = TorchEngine(load_model(read_run(run)), "cpu"), images_of(products)
    names = [sample.category for sample in load_dataset(products).test]
    found = engine.localize(images)
    assert found.products is not None
    assert [engine.products[number] for number in found.products] == names
    given = engine.localize(images, names)
    np.testing.assert_array_equal(given.maps, found.maps)
    wrong = engine.localize(images, ["plate" if name == "disc" else "disc" for name in names])
    assert wrong.scores is not None
    assert given.scores is not None
    good = [not sample.anomalous for sample in load_dataset(products).test]
    assert (wrong.scores[good] > given.scores[good] + 0.3).all()  # good parts of another product are strangers
    inspector, paths = (
        Inspector(engine, read_run(run).config.scoring),
        [sample.path for sample in load_dataset(products).test],
    )
    told = [inspector.inspect(path, "disc").score for path in paths]
    asked = inspector.inspect_batch(paths, ["disc"] * len(paths))
    assert [one.score for one in asked if isinstance(one, Verdict)] == pytest.approx(told, abs=1e-5)
    assert told[names.index("plate")] > inspector.inspect(paths[names.index("plate")]).score + 0.3
    unknown = engine.localize(images, [None, *["bolt"] * (len(images) - 1)])
    np.testing.assert_array_equal(unknown.products, found.products)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_exports_contain_memory_and_filter(run: Path, products: Path, runtime: str) -> None:
    folder, parity = export(run, runtime, "fp32", products)
    assert not parity.failures
    described = read_run(run)
    options = EngineOptions(name=runtime, precision="fp32", device="cpu")
    exported = open_export(*find_export(described, options), options)
    torch_engine, images = TorchEngine(load_model(described), "cpu"), images_of(products)
    expected, found = torch_engine.localize(images), exported.localize(images)
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-4)
    np.testing.assert_array_equal(found.products, expected.products)
    given = exported.localize(images, ["disc"] * len(images))
    np.testing.assert_array_equal(given.products, 0)
    streams = open_export(folder, find_export(described, options)[1], EngineOptions(device="cpu", streams=2))
    np.testing.assert_allclose(streams.localize(images).maps, found.maps, atol=1e-5)


def test_a_damaged_memory_is_an_error(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    memory = copy / "memory.safetensors"
    content = bytearray(memory.read_bytes())
    content[-3] ^= 1
    memory.write_bytes(bytes(content))
    with pytest.raises(RunError, match="memory"):
        load_model(read_run(copy))


def test_settings_that_contradict_a_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.refinements"):
        Config.preset("accurate").updated({"model.refinements": 1})
    with pytest.raises(ConfigError, match=r"filter.images (.|\n)*got: 10$"):
        Config().updated({"filter.images": 10})
    with pytest.raises(ConfigError, match=r"training.epochs"):
        Config().updated({"training.epochs": 0, "training.milestones": ()})


def test_scores_stay_between_0_and_1_for_noise(run: Path) -> None:
    engine = TorchEngine(load_model(read_run(run)), "cpu")
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    found = engine.localize(noise)
    assert found.maps.min() >= 0
    assert found.maps.max() < 1
    assert found.scores is not None
    assert ((found.scores > 0.5) & (found.scores < 1)).all()
    assert torch.isfinite(torch.from_numpy(found.maps)).all()


def test_an_evaluation_counts_the_products_that_were_found(run: Path, products: Path, tmp_path: Path) -> None:
    """Parts in the folder of another product are counted as taken for their own; a product that is given is not."""
    data = shutil.copytree(products, tmp_path / "data")
    count = len(load_dataset(data).test)
    protocol = evaluate(run, data, device="cpu").protocol
    assert (protocol["top_pixels"], protocol["top_share"]) == (None, read_run(run).config.memory.share)
    found = protocol["product"]
    assert (found["images"], found["wrong"], found["confused"]) == (count, 0, [])
    for file in (data / "plate" / "test" / "good").iterdir():
        file.rename(data / "disc" / "test" / "good" / f"from-plate-{file.name}")
    mixed = evaluate(run, data, device="cpu")
    assert mixed.protocol["product"]["confused"] == [{"product": "disc", "found": "plate", "images": 2}]
    assert "2 images of disc were taken for plate" in mixed.notes
    given = evaluate(run, data, device="cpu", product_given=True)
    assert given.protocol["product"] == {"given": True}
    assert GIVEN in given.notes
    assert GIVEN in given.protocol["notes"]


@pytest.mark.parametrize("whole", [False, True])
def test_the_part_s_box_is_read_and_the_map_is_whole(
    tmp_path: Path, settings: Config, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """The box is cut out in the graphs as in PyTorch; only a view of the whole image sees what is outside of it."""
    monkeypatch.setenv("CLIPADA_CACHE", str(tmp_path / "cache"))
    boxes = iter([(0.25, 0.125, 0.875, 0.75), WHOLE])  # random weights find none
    monkeypatch.setattr("clipada.training.memory.part_box", lambda *_: next(boxes))
    data = write_products(tmp_path / "parts")
    small = train(data, tmp_path / "run", settings.updated({"memory.whole": whole}), runtime=RUNTIME)
    head = load_model(small).head
    assert head is not None
    assert head.crops.any
    assert (head.whole is not None) == whole
    photos, names = images_of(data), np.array([sample.category for sample in load_dataset(data).test])
    found = TorchEngine(load_model(small), "cpu").localize(photos)
    assert found.maps.shape == (1, 8, 64, 64)
    cropped = names == head.products[0]
    assert (np.ptp(found.maps[0, cropped, :6]) > 0.001) == whole  # outside of the box
    assert found.maps[0, cropped, 8:48, 16:56].max() > 0
    assert found.maps[0, ~cropped, :8].max() > 0
    folder, parity = export(small.folder, "onnx", "fp32", data)
    assert not parity.failures
    options = EngineOptions(name="onnx", precision="fp32", device="cpu")
    exported = open_export(folder, find_export(read_run(small.folder), options)[1], options).localize(photos)
    np.testing.assert_allclose(exported.maps, found.maps, atol=1e-4)
    np.testing.assert_array_equal(exported.products, found.products)


def test_the_commit_of_a_backbone_from_the_hub_is_recorded(
    tmp_path: Path, products: Path, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipada.models.clip_ada.load_backbone", loaded_from_the_hub)
    made = train(products, tmp_path / "run", settings.updated({"filter.images": 0}), runtime=RUNTIME)
    assert read_run(made.folder).config.backbone.revision == "0123abcd"


def loaded_from_the_hub(config: BackboneConfig) -> Backbone:
    backbone = load_backbone(config)
    backbone.commit = "0123abcd"
    return backbone
