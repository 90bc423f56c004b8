"""Large images in tiles: one view for memory, thresholds, evaluation, inspection, exports and additions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from backbone_families import make_backbone
from clipada.commands.add import add_parts
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.info import info
from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.errors import ConfigError
from clipada.inspection import Inspector
from clipada.runs import load_model, read_run
from clipada.training.views import MOST_IMAGES, image_peaks, read_views, with_decided_aspect, with_decided_view
from clipada.types import Sample, Verdict
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0)
SIZE = (180, 240)
DEFECT = (slice(100, 112), slice(150, 162))


def texture(rng: np.random.Generator) -> np.ndarray:
    return np.clip(120 + rng.normal(0, 4, (*SIZE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cloth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of cloth, three times as large as the model's input; defects are of 12 pixels."""
    root, rng = tmp_path_factory.mktemp("cloth"), np.random.default_rng(0)
    for index in range(4):
        save(root / "cloth" / "train" / "good" / f"{index:03}.png", texture(rng))
    for index in range(2):
        save(root / "cloth" / "test" / "good" / f"{index:03}.png", texture(rng))
        image, mask = texture(rng), np.zeros(SIZE, bool)
        mask[DEFECT] = True
        image[mask] = 250 - image[mask] // 2
        save(root / "cloth" / "test" / "hole" / f"{index:03}.png", image)
        save(root / "cloth" / "ground_truth" / "hole" / f"{index:03}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config.preset("quick").updated(
        {
            "backbone.name": str(make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")),
            "backbone.blocks": (1, 2),
            "model.image_size": 64,
            "memory.rows": 96,
            "inspection.view": "auto",
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cloth: Path, settings: Config) -> Path:
    config = settings.updated({"inspection.view": "tiles"})
    return train(cloth, tmp_path_factory.mktemp("run") / "run", config, runtime=RUNTIME).folder


def defects(cloth: Path) -> list[Path]:
    return sorted((cloth / "cloth" / "test" / "hole").iterdir())


def test_a_run_records_what_was_decided(run: Path) -> None:
    inspection = read_run(run).config.inspection
    assert (inspection.view, inspection.tile) == ("tiles", 64)
    assert "tiles of 64 pixels" in info(run)["input"]


def test_tiles_are_cut_where_images_are_much_larger_than_the_input(cloth: Path, settings: Config) -> None:
    samples = [Sample(path=path, category="cloth", split="train") for path in defects(cloth)]
    small = settings.updated({"model.image_size": 60, "backbone.blocks": None})
    assert with_decided_view(small, samples).inspection.view == "tiles"
    assert with_decided_view(settings, samples).inspection.view == "whole"


def test_tiles_need_a_memory() -> None:
    with pytest.raises(ConfigError, match="whole"):
        Config().updated({"inspection.view": "tiles"})


def test_the_map_is_joined_in_the_image_s_pixels_and_finds_the_defect(run: Path, cloth: Path) -> None:
    verdict = Inspector.load(run, engine="torch", device="cpu").inspect(defects(cloth)[0])
    assert verdict.anomaly_map.shape == SIZE
    row, column = np.unravel_index(verdict.anomaly_map.argmax(), SIZE)
    assert 94 <= row <= 118
    assert 144 <= column <= 168


def test_evaluation_and_inspection_agree(run: Path, cloth: Path) -> None:
    found = evaluate(run, cloth, at="native", engine="torch", device="cpu", batch_size=3)
    assert found.protocol["view"] == {"view": "tiles", "tile": 64, "overlap": 0.25}
    assert found.categories["cloth"].pixel_auroc is not None
    assert found.categories["cloth"].pixel_auroc > 0.95
    inspector = Inspector.load(run, engine="torch", device="cpu")
    scores = {record["path"]: record["scores"][-1] for record in found.scores}
    for path in defects(cloth):
        assert inspector.inspect(path, "cloth").score == pytest.approx(scores[str(path)], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_runtimes_and_batches_agree_on_tiled_images(run: Path, cloth: Path, engine: str) -> None:
    export(run, engine, data=cloth)
    reference = Inspector.load(run, engine="torch", device="cpu")
    exported = Inspector.load(run, engine=engine)
    assert exported.engine.size == (64, 64)
    paths = defects(cloth) * 4
    expected = [reference.inspect(path) for path in paths]
    for batch_size in (1, 8):
        for one, other in zip(exported.inspect_files(paths, batch_size=batch_size), expected, strict=True):
            assert isinstance(one, Verdict)
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert np.abs(one.anomaly_map - other.anomaly_map).max() < 1e-3
            assert [region.box for region in one.regions] == [region.box for region in other.regions]


def test_an_image_of_one_tile_has_the_same_map_in_both_views(run: Path, settings: Config) -> None:
    from clipada.engines.tiled import TiledEngine
    from clipada.engines.torch import TorchEngine

    engine = TorchEngine(load_model(read_run(run)), "cpu")
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tiled = TiledEngine(engine, read_run(run).config.inspection).localize_image(image, image)
    np.testing.assert_allclose(tiled.maps, engine.localize(image[None]).maps[:, 0], atol=1e-5)


def test_training_images_calibrate_without_their_own_tiles(run: Path, cloth: Path) -> None:
    found = calibrate(run, (), engine="torch", device="cpu").calibration
    assert len(found.images) == 4
    assert len({image.score for image in found.images}) == 4


def test_parts_that_are_added_are_tiled_too(run: Path, tmp_path: Path, settings: Config, cloth: Path) -> None:
    config = settings.updated({"inspection.view": "tiles"})
    fresh = train(cloth, tmp_path / "run", config, runtime=RUNTIME)
    rng = np.random.default_rng(7)
    for index in range(3):
        save(tmp_path / "dark" / f"{index}.png", (texture(rng) // 3).astype(np.uint8))
    added = add_parts(fresh.folder, tmp_path / "dark", product="dark", runtime=RUNTIME)
    assert added.changes[0].images == 3
    verdict = Inspector.load(added.run, engine="torch", device="cpu").inspect(tmp_path / "dark" / "0.png", "dark")
    assert verdict.anomaly_map.shape == SIZE


def test_views_are_bounded_balanced_and_the_same_every_time(tmp_path: Path, settings: Config) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(60)]
    for path in paths:
        PilImage.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(path)
    config = settings.updated({"inspection.view": "tiles", "inspection.tile": 64})
    views, again = (read_views("cloth", paths, config, 1) for _ in range(2))
    np.testing.assert_array_equal(views.images, again.images)
    assert len(views.paths) == 60
    assert len(views.images) <= MOST_IMAGES + len(paths)
    counts = np.bincount(views.sources[60:].numpy())
    assert counts.min() == counts.max()


def test_the_peak_of_an_image_is_the_highest_of_its_tiles() -> None:
    rng = np.random.default_rng(0)
    peaks = list(np.linspace(0, 1, 101))
    assert image_peaks(peaks, 1, rng) == peaks
    assert np.median(image_peaks(peaks, 20, rng)) == pytest.approx(0.5 ** (1 / 20), abs=0.02)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([(100, 400)] * 3, (32, 128)),
        ([(400, 100)] * 3, (128, 32)),
        ([(100, 120)] * 3, 64),
        ([(100, 400), (100, 400), (100, 100)], 64),
    ],
)
def test_an_input_has_the_aspect_that_all_training_images_have(
    tmp_path: Path, settings: Config, sides: list[tuple[int, int]], expected: int | tuple[int, int]
) -> None:
    samples = []
    for index, size in enumerate(sides):
        save(tmp_path / f"{index}.png", np.zeros((*size, 3), np.uint8))
        samples.append(Sample(path=tmp_path / f"{index}.png", category="bar", split="train"))
    whole = settings.updated({"inspection.view": "whole"})
    assert with_decided_aspect(whole, samples).model.image_size == expected
    assert with_decided_aspect(whole.updated({"inspection.view": "tiles"}), samples).model.image_size == 64
