"""Products and conditions that join the memory of a finished run, and leave it again."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, add_parts, calibrate, remove_parts, train
from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.push import save_pretrained
from clipada.commands.verify import verify
from clipada.config import CalibrationConfig, EngineOptions
from clipada.data import load_dataset, read_batches
from clipada.engines.exports import find_export, open_export
from clipada.engines.torch import TorchEngine
from clipada.errors import CalibrationError, ClipAdaError, ConfigError, DatasetError, RunError
from clipada.report.reading import read_scores
from clipada.runs import load_model, read_run
from growing import RUNTIME, memory_config, write_parts, write_product

Trained = Callable[[str, str], Path]

KINDS = {
    "filter": {},
    "memory alone": {"filter__images": 0, "memory__crop": False},
    "whole": {"memory__whole": True},
}
"""Settings of the runs."""

LOOSE = CalibrationConfig(false_alarm_rate=0.5, confidence=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("three")
    for name in ("plate", "disc", "ring"):
        write_product(root, name)
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train runs of a kind, with ``two`` products or ``three``, once each."""
    folder = tmp_path_factory.mktemp("runs")

    def run(kind: str, products: str) -> Path:
        out = folder / kind / products
        if not out.exists():
            config = memory_config(folder / kind / "dinov2", **KINDS[kind])
            train(data, out, config, runtime=RUNTIME, categories=["disc", "plate"] if products == "two" else None)
        return out

    return run


@pytest.fixture
def two(trained: Trained, tmp_path: Path) -> Path:
    """A run of two products, with a filter, to be changed."""
    return Path(shutil.copytree(trained("filter", "two"), tmp_path / "two"))


def maps_of(run: Path, images: Path, backbone: str | None = None) -> np.ndarray:
    """Compute the raw maps of a folder of images."""
    engine = TorchEngine(load_model(read_run(run), backbone), "cpu")
    pixels = next(iter(read_batches(sorted(images.rglob("*.png")), engine.size, 64, 1))).images
    return engine.localize(pixels).maps


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- a new product


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_product_is_as_a_trained_one_and_the_others_stay(
    kind: str, trained: Trained, data: Path, tmp_path: Path
) -> None:
    two = Path(shutil.copytree(trained(kind, "two"), tmp_path / "two"))
    before = {name: maps_of(two, data / name / "test") for name in ("plate", "disc")}
    model = read_run(two).model_sha256
    added = add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    assert [(change.action, change.product, change.images) for change in added.changes] == [("added", "ring", 8)]
    assert added.run.model_sha256 != model
    assert added.run.training.categories == {"disc": 8, "plate": 8, "ring": 8}
    assert verify(two).intact
    for name, maps in before.items():
        np.testing.assert_allclose(maps_of(two, data / name / "test"), maps, atol=1e-5)
    grown, whole = evaluate(two, data, device="cpu"), evaluate(trained(kind, "three"), data, device="cpu")
    for name in ("plate", "disc", "ring"):
        ours, theirs = grown.categories[name], whole.categories[name]
        assert ours.image_auroc == pytest.approx(theirs.image_auroc, abs=0.01)
        assert ours.pixel_auroc == pytest.approx(theirs.pixel_auroc, abs=0.02)


def test_a_product_with_more_rows_than_the_others_leaves_their_answers(
    tmp_path: Path, data: Path, trained: Trained
) -> None:
    """The memory of the others is repeated, because all have the same number of rows."""
    config = memory_config(tmp_path / "dinov2", memory__rows=100_000, memory__crop=False)
    few = tmp_path / "few"
    for name in ("plate", "disc"):
        write_parts(few / name / "train" / "good", name, 4)
    train(few, tmp_path / "run", config, runtime=RUNTIME)
    before, rows = maps_of(tmp_path / "run", data / "disc" / "test"), memory_rows(tmp_path / "run")
    add_parts(tmp_path / "run", data / "ring" / "train", product="ring", runtime=RUNTIME)
    assert memory_rows(tmp_path / "run") == 2 * rows
    np.testing.assert_allclose(maps_of(tmp_path / "run", data / "disc" / "test"), before, atol=1e-5)


def memory_rows(run: Path) -> int:
    head = load_model(read_run(run)).head
    assert head is not None
    return head.bank.rows.shape[2]


@pytest.mark.slow
def test_the_export_of_a_revision_passes_its_gate_and_is_refused_by_the_run_of_before(two: Path, data: Path) -> None:
    added = add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    _, parity = export(two, "onnx", "fp32")  # on the images of the training, which do not show the new product
    assert not parity.failures
    options = EngineOptions(name="onnx", precision="fp32", device="cpu")
    folder, described = find_export(added.run.present(), options)
    assert described.products == ("disc", "plate", "ring")
    paths = [sample.path for sample in load_dataset(data).of("ring").test]
    exported = open_export(folder, described, options)
    pixels = next(iter(read_batches(paths, exported.size, 64, 1))).images
    np.testing.assert_allclose(exported.localize(pixels).maps[0], maps_of(two, data / "ring" / "test")[0], atol=1e-4)
    undone = remove_parts(two, last=True)
    assert undone.stale == ("exports/onnx-fp32",)
    with pytest.raises(RunError, match="another adapter"):
        find_export(undone.run, options)


def test_a_published_run_has_the_revision_alone(two: Path, data: Path, tmp_path: Path) -> None:
    run = add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME).run
    folder = save_pretrained(run, tmp_path / "published")
    assert not (folder / "revisions").exists()
    published, backbone = read_run(folder), run.config.backbone.name
    assert published.model_sha256 == run.model_sha256
    images = data / "ring" / "test"
    np.testing.assert_array_equal(maps_of(folder, images, backbone), maps_of(two, images))
    assert "added ring (8 images)" in (folder / "README.md").read_text()
    dark = write_parts(tmp_path / "dark", "ring", 3, seed=5, light=0.7)
    again = add_parts(folder, dark, product="ring", condition="dark", backbone=backbone, runtime=RUNTIME)
    assert again.changes[0].revision == 2
    remove_parts(folder, last=True)
    assert read_run(folder).model_sha256 == run.model_sha256


# --- a condition


def test_a_condition_lowers_the_scores_of_its_good_parts_and_leaves_other_products(
    two: Path, data: Path, tmp_path: Path
) -> None:
    write_parts(tmp_path / "evening", "plate", 6, seed=3, light=0.6)
    fresh = write_parts(tmp_path / "fresh", "plate", 4, seed=4, light=0.6)
    other, model = maps_of(two, data / "disc" / "test"), read_run(two).model_sha256
    before = scores(two, fresh)
    added = add_parts(two, tmp_path / "evening", product="plate", condition="evening", runtime=RUNTIME)
    assert added.changes[0].describe().endswith("added plate, evening (6 images)")
    assert added.run.training.categories == {"disc": 8, "plate": 14}
    assert max(scores(two, fresh)) < 0.5 * min(before)
    np.testing.assert_allclose(maps_of(two, data / "disc" / "test"), other, atol=1e-5)
    assert evaluate(two, data, device="cpu").categories["plate"].image_auroc == 1.0  # defects are still found
    removed = remove_parts(two, condition="evening")
    assert removed.run.model_sha256 == model
    assert removed.run.training.categories == {"disc": 8, "plate": 8}
    assert [change.action for change in removed.run.training.changes] == ["added", "removed"]


def scores(run: Path, images: Path) -> list[float]:
    """Return the scores of plates."""
    inspector = Inspector.load(run, device="cpu", calibrated=False)
    return [inspector.inspect(path, "plate").score for path in sorted(images.glob("*.png"))]


def test_the_folders_of_images_name_their_products(two: Path, tmp_path: Path) -> None:
    for name in ("plate", "disc"):
        write_parts(tmp_path / "evening" / name, name, 3, seed=3, light=0.8)
    added = add_parts(two, tmp_path / "evening", condition="evening", runtime=RUNTIME)
    assert {(change.product, change.images) for change in added.changes} == {("plate", 3), ("disc", 3)}
    remove_parts(two, product="disc", condition="evening")
    assert read_run(two).training.categories == {"disc": 8, "plate": 11}


def test_a_single_image_is_a_condition(two: Path, tmp_path: Path) -> None:
    one = write_parts(tmp_path / "one", "plate", 1, seed=9, light=0.9)
    assert add_parts(two, one, product="plate", condition="one", runtime=RUNTIME).run.training.categories["plate"] == 9


def test_rejected_alarms_join_the_memory(two: Path, tmp_path: Path) -> None:
    kept = sorted(write_parts(tmp_path / "kept", "plate", 3, seed=3, light=0.8).glob("*.png"))
    added = add_parts(two, rejected={kept[0]: "plate", kept[1]: "plate", kept[2]: None}, runtime=RUNTIME)
    assert [(change.condition, change.images) for change in added.changes] == [("rejected alarms", 2)]
    assert added.unassigned == (kept[2],)


# --- removal and undo


def test_an_undo_restores_every_byte(two: Path, data: Path, tmp_path: Path) -> None:
    good = [data / name / "test" / "good" for name in ("plate", "disc")]
    calibrate(two, good, LOOSE, device="cpu", force=True)
    evaluate(two, data, device="cpu")
    before = bytes_of(two)
    added = add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    assert added.stale == ("calibration.json", "metrics.json")
    calibrate(two, good, LOOSE, device="cpu", force=True)
    undone = remove_parts(two, last=True)
    assert undone.changes == added.changes
    assert undone.stale == ()
    assert bytes_of(two) == before
    with pytest.raises(RunError, match="nothing to undo"):
        remove_parts(two, last=True)


def test_products_come_and_go(two: Path, data: Path) -> None:
    plate = maps_of(two, data / "plate" / "test")
    add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    ring = maps_of(two, data / "ring" / "test")
    remove_parts(two, product="disc")
    run = read_run(two)
    assert list(run.training.categories) == ["plate", "ring"]
    np.testing.assert_allclose(maps_of(two, data / "plate" / "test"), plate, atol=1e-5)
    np.testing.assert_allclose(maps_of(two, data / "ring" / "test"), ring, atol=1e-5)
    again = add_parts(two, write_parts(two.parent / "discs", "disc", 8, seed=6), product="disc", runtime=RUNTIME)
    assert list(again.run.training.categories) == ["plate", "ring", "disc"]
    assert evaluate(two, data, device="cpu").categories["disc"].image_auroc == 1.0
    remove_parts(two, product="ring")
    remove_parts(two, product="disc")
    with pytest.raises(ConfigError, match="plate is the only product"):
        remove_parts(two, product="plate")
    assert verify(two).intact


# --- what is of another model


def test_calibration_and_evaluation_of_before_do_not_count(two: Path, data: Path) -> None:
    calibrate(two, [data / name / "test" / "good" for name in ("plate", "disc")], LOOSE, device="cpu", force=True)
    evaluate(two, data, device="cpu")
    run = add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME).run
    with pytest.raises(CalibrationError, match="is not of run"):
        Inspector.load(two, device="cpu")
    assert run.metrics is None
    with pytest.raises(RunError, match="before its latest change"):
        read_scores(run)
    assert "of another model, not used" in (two / "README.md").read_text()


def test_added_images_are_neither_test_nor_calibration_images(two: Path, data: Path) -> None:
    calibrate(two, [data / "plate" / "test" / "good"], LOOSE, device="cpu", force=True)
    added = add_parts(two, data / "plate" / "test" / "good", product="plate", condition="more", runtime=RUNTIME)
    assert any("present calibration" in warning for warning in added.warnings)
    found = evaluate(two, load_dataset(data), device="cpu")
    assert len(found.protocol["trained_on"]) == 4
    with pytest.raises(CalibrationError, match="4 more were trained on"):
        calibrate(two, data / "plate" / "test" / "good", LOOSE, device="cpu")


# --- images that cannot be added, and input that is refused


def test_known_images_copies_and_damaged_ones_are_left_out_and_counted(two: Path, data: Path, tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "more", "plate", 2, seed=3, light=0.8)
    known = sorted((data / "plate" / "train" / "good").glob("*.png"))[0]
    shutil.copyfile(known, folder / "known.png")
    shutil.copyfile(folder / "3-000.png", folder / "twice.png")
    (folder / "damaged.png").write_bytes(b"no image")
    added = add_parts(two, folder, product="plate", condition="more", runtime=RUNTIME)
    assert [path.name for path in added.known] == ["known.png"]
    assert [path.name for path in added.copies] == ["twice.png"]
    assert [failure.path.name for failure in added.failures] == ["damaged.png"]
    assert added.changes[0].images == 2
    before = bytes_of(two)
    with pytest.raises(DatasetError, match="no image is left to add"):
        add_parts(two, folder / "known.png", product="plate", condition="more", runtime=RUNTIME)
    with pytest.raises(DatasetError, match="no image can be read"):
        add_parts(two, folder / "damaged.png", product="plate", condition="more", runtime=RUNTIME)
    assert bytes_of(two) == before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "it is not said what the images show"),
        ({"product": "plate"}, "plate is in the memory already"),
        ({"product": "plaet", "condition": "dark"}, "no product plaet"),
        ({"condition": "dark"}, "the product of .* is not known"),
        ({"product": "a/b"}, "cannot be the name of a product"),
        ({"product": ""}, "cannot be the name of a product"),
        ({"product": "plate", "condition": " dark"}, "cannot be the name of a condition"),
    ],
)
def test_names_that_say_too_little_are_refused(
    names: dict[str, str], message: str, trained: Trained, tmp_path: Path
) -> None:
    images = write_parts(tmp_path / "photos", "plate", 2, seed=3)
    with pytest.raises(ConfigError, match=message) as error:
        add_parts(trained("filter", "two"), images, **names)
    assert "plate" in str(error.value) or error.value.got


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "not said what to remove"),
        ({"last": True, "product": "plate"}, "not said what to remove"),
        ({"product": "plaet"}, "no product plaet"),
        ({"condition": "dark"}, "no condition dark"),
    ],
)
def test_removals_that_name_nothing_are_refused(names: dict[str, object], message: str, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=message):
        remove_parts(trained("filter", "two"), **names)  # type: ignore[arg-type]


def test_a_run_without_a_memory_is_refused(finished_run: Path, data: Path) -> None:
    for change in (
        lambda: add_parts(finished_run, data / "ring", product="ring"),
        lambda: remove_parts(finished_run, product="disc"),
    ):
        with pytest.raises(RunError, match="no memory of good parts"):
            change()


@pytest.mark.parametrize("name", ["memory.safetensors", "input-check.safetensors", "training-images.sha256"])
def test_a_damaged_run_is_refused_and_stays_as_it_is(name: str, two: Path, data: Path) -> None:
    content = bytearray((two / name).read_bytes())
    content[-3] ^= 1
    (two / name).write_bytes(bytes(content))
    before = bytes_of(two)
    with pytest.raises(ClipAdaError, match=name.partition(".")[0]):
        add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    assert bytes_of(two) == before


def test_a_damaged_addition_is_noticed(two: Path, data: Path, tmp_path: Path) -> None:
    add_parts(two, data / "ring" / "train", product="ring", runtime=RUNTIME)
    path = two / "revisions" / "1" / "added-0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    assert not verify(two).intact
    with pytest.raises(RunError, match="added-0"):
        remove_parts(two, product="disc")
    remove_parts(two, last=True)  # does not need it
    assert verify(two).intact
