"""The images that a run has learned from: found where they are, and refused where they are others."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clipada.commands.add import add_parts
from clipada.commands.remove import remove_parts
from clipada.commands.train import train
from clipada.data import load_dataset
from clipada.errors import DatasetError
from clipada.runs import Run, read_run
from clipada.training.trained_images import added_images, defects_folder, find_dataset, trained_images
from growing import RUNTIME, memory_config, write_parts, write_product


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of some of the images of two products, with known defects, an added condition and an added product."""
    root = tmp_path_factory.mktemp("made")
    for name in ("plate", "disc"):
        write_product(root / "data", name)
    write_parts(root / "data" / "known defects" / "plate", "plate", 3, seed=3, defects=3)
    changes = {"filter__images": 0, "training__image_share": 0.75, "training__validation_fraction": 0.2}
    config = memory_config(root / "dinov2", **changes)
    defects = root / "data" / "known defects"
    train(root / "data", root / "run", config, runtime=RUNTIME, categories=["plate", "disc"], defects=defects)
    write_parts(root / "evening", "plate", 4, seed=4, light=0.8)
    write_parts(root / "ring", "ring", 4, seed=5)
    add_parts(root / "run", root / "evening", product="plate", condition="evening", runtime=RUNTIME)
    add_parts(root / "run", root / "ring", product="ring", runtime=RUNTIME)
    return root


@pytest.fixture
def moved(made: Path, tmp_path: Path) -> Path:
    """A copy of the images, and of the run, which records where they were."""
    for name in ("data", "evening", "ring", "run"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def gone(run: Run) -> Run:
    """Return the run as if its images were no longer where they were."""
    return replace(run, training=replace(run.training, data="/gone", defects_data="/gone/known defects"))


def test_the_images_of_a_training_are_those_that_it_chose(made: Path) -> None:
    run = read_run(made / "run")
    dataset = find_dataset(run)
    assert dataset.categories == ("disc", "plate")
    found = trained_images(run, dataset)
    assert [sample.category for sample in found] == 6 * ["disc"] + 6 * ["plate"]  # 75 % of 8
    assert len(dataset.train) == 16


def test_images_that_have_moved_are_found_where_a_user_says(moved: Path) -> None:
    run = gone(read_run(moved / "run"))
    with pytest.raises(DatasetError, match="not where they were") as error:
        find_dataset(run)
    assert "--data" in (error.value.remedy or "")
    dataset = find_dataset(run, moved / "data")
    assert len(trained_images(run, dataset)) == 12
    assert defects_folder(run, dataset) == moved / "data" / "known defects"


def test_images_that_have_changed_are_refused(moved: Path) -> None:
    run = read_run(moved / "run")
    dataset = find_dataset(run, moved / "data")
    first = trained_images(run, dataset)[0].path
    first.write_bytes((moved / "ring" / "5-000.png").read_bytes())
    with pytest.raises(DatasetError, match="are not all in") as error:
        trained_images(run, dataset)
    assert "of disc" in (error.value.got or "")


def test_a_removed_product_is_not_looked_for(moved: Path) -> None:
    remove_parts(moved / "run", product="disc")
    shutil.rmtree(moved / "data" / "disc")
    run = read_run(moved / "run")
    dataset = find_dataset(run, moved / "data")
    assert {sample.category for sample in trained_images(run, dataset)} == {"plate"}
    assert defects_folder(gone(run), dataset) == moved / "data" / "known defects"
    other = replace(dataset, samples=tuple(replace(sample, category="disc") for sample in dataset.samples))
    with pytest.raises(DatasetError, match="of plate, which was removed"):
        defects_folder(run, other)


def test_added_images_are_found_by_their_content(made: Path, moved: Path) -> None:
    run = read_run(moved / "run")
    found = added_images(run)
    assert [(one.product, one.condition, len(one.paths)) for one in found] == [("plate", "evening", 4), ("ring", "", 4)]
    assert {path.parent for one in found for path in one.paths} == {made / "evening", made / "ring"}
    kept = made / "evening"
    hidden = shutil.move(kept, made / "hidden")
    try:
        with pytest.raises(DatasetError, match="added to run run are not where they were") as error:
            added_images(run)
        assert error.value.expected == "4 of plate evening"
        shutil.move(moved / "evening", moved / "data" / "other name")
        assert {path.parent.name for path in added_images(run, moved / "data")[0].paths} == {"other name"}
    finally:
        shutil.move(hidden, kept)


def test_photos_of_known_defects_are_those_learned_from(moved: Path) -> None:
    run, dataset = gone(read_run(moved / "run")), load_dataset(moved / "data", "mvtec", ["plate", "disc"])
    write_parts(moved / "data" / "known defects" / "plate", "plate", 1, seed=6, defects=1)
    with pytest.raises(DatasetError, match="not those that it has learned from") as error:
        defects_folder(run, dataset)
    assert error.value.got == "0 are gone or changed, 1 are new"
    shutil.rmtree(moved / "data" / "known defects")
    with pytest.raises(DatasetError, match="not those that it has learned from") as error:
        defects_folder(run, dataset)
    assert error.value.got == "no such folder"
    assert defects_folder(replace(run, training=replace(run.training, defects_data="")), dataset) is None
