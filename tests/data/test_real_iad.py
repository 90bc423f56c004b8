"""Real-IAD as published: JSON splits beside images of several sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipada.data import load_dataset
from clipada.errors import DatasetError

VIEWS = range(1, 6)


def part(kind: str, number: int, view: int) -> str:
    """Place of an image, without its ending, in the folder of its category."""
    label = "OK" if kind == "OK" else "NG"
    folder = "OK" if kind == "OK" else f"NG/{kind}"
    return f"{folder}/S{number:04}/audiojack_{number:04}_{label}_C{view}_20231021131646"


def entry(kind: str, number: int, view: int, seen: bool = True) -> dict[str, Any]:
    """An image in a split; a defect that is not seen from a side makes no defective image there."""
    place, anomalous = part(kind, number, view), kind != "OK" and seen
    return {
        "category": "audiojack",
        "anomaly_class": kind if anomalous else "OK",
        "image_path": f"{place}.jpg",
        "mask_path": f"{place}.png" if anomalous else None,
    }


def split(views: range = VIEWS) -> dict[str, Any]:
    return {
        "meta": {"prefix": "audiojack/", "normal_class": "OK"},
        "train": [entry("OK", number, view) for number in range(20) for view in views],
        "test": [entry("OK", number, view) for number in range(20, 30) for view in views]
        + [entry(kind, number, view, view != 5) for kind in ("BX", "HS") for number in range(6) for view in views],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The images of a product in two sizes, and two sets of splits."""
    for size in ("realiad_256", "realiad_1024"):
        for one in [*split()["train"], *split()["test"]]:
            for name in filter(None, (one["image_path"], one["mask_path"])):
                path = tmp_path / "Real-IAD" / size / "audiojack" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for name, views in (("realiad_jsons", VIEWS), ("realiad_jsons_sv", range(1, 2))):
        table = tmp_path / "Real-IAD" / "realiad_jsons" / name / "audiojack.json"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(json.dumps(split(views)))
    return tmp_path / "Real-IAD"


def test_all_views_are_split_as_published(root: Path) -> None:
    dataset = load_dataset(root)
    assert dataset.layout == "real_iad"
    assert dataset.describe() == (
        "Real-IAD layout, 1 category",
        "audiojack: 100 train / 62 normal + 48 anomalous test",
        "images of realiad_1024, split by realiad_jsons/realiad_jsons",
        "left out: realiad_256, realiad_jsons/realiad_jsons_sv; name such a folder to use it",
        *dataset.describe()[4:],
    )
    assert {sample.defect for sample in dataset.test} == {"good", "BX", "HS"}
    assert all(sample.mask == sample.path.with_suffix(".png") for sample in dataset.test if sample.anomalous)


@pytest.mark.parametrize("folder", ["realiad_256", "realiad_jsons/realiad_jsons_sv", "realiad_jsons"])
def test_a_folder_that_is_named_is_the_one_that_is_used(
    root: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(root / folder)
    images, views = ("realiad_256", 5) if folder == "realiad_256" else ("realiad_1024", 1 if "sv" in folder else 5)
    assert len(dataset.train) == 20 * views
    assert all(sample.path.is_relative_to(root / images / "audiojack") for sample in dataset.samples)
    monkeypatch.chdir(root / folder)
    assert len(load_dataset(Path()).train) == 20 * views


def test_splits_directly_in_their_folder_and_without_a_prefix(root: Path) -> None:
    table = root / "realiad_jsons" / "audiojack.json"
    content = split()
    del content["meta"]
    table.write_text(json.dumps(content), encoding="utf-8-sig")
    (root / "realiad_jsons" / "mint.json").write_text(json.dumps(content))
    notes = load_dataset(root).describe()
    assert "audiojack: 100 train / 62 normal + 48 anomalous test" in notes
    assert "left out: mint, which has no folder in realiad_1024" in notes


def test_defective_images_to_train_on_are_left_out_and_counted(root: Path) -> None:
    table = root / "realiad_jsons" / "realiad_jsons" / "audiojack.json"
    content = split()
    content["train"] += content["test"][-10:]
    content["test"] = content["test"][:-10]
    table.write_text(json.dumps(content))
    dataset = load_dataset(root)
    assert dataset.describe()[1] == "audiojack: 102 train / 60 normal + 40 anomalous test"
    assert "audiojack: left out: 8 defective images to train on, as only good ones are" in dataset.describe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot use the table .*audiojack.json\n  expected: JSON"),
        ("[]", "expected: lists `train` and `test`\n  got: list"),
        (
            '{"test": [{"image_path": "a.jpg"}]}',
            'with image_path, .*\n  got: test: {"image_path": "a.jpg"}',
        ),
        ('{"test": [{"image_path": "../../a.jpg", "anomaly_class": "OK"}]}', "inside of .*\n  got: ../../a.jpg"),
        (
            '{"test": [{"image_path": "a.jpg", "anomaly_class": "OK"}]}',
            "got: 1 that are not there, first .*a.jpg\n",
        ),
        (json.dumps({"test": [entry("OK", 1, 1)] * 2}), "expected: each image and each mask once\n  got: .*C1.* twice"),
    ],
)
def test_splits_that_do_not_fit_are_refused(root: Path, content: str, message: str) -> None:
    (root / "realiad_jsons" / "realiad_jsons" / "audiojack.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(root)


def test_splits_without_images_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "realiad_jsons").mkdir()
    (tmp_path / "realiad_jsons" / "mint.json").write_text(json.dumps(split()))
    with pytest.raises(DatasetError, match=r"expected: realiad_1024 .* beside realiad_jsons\n  got: the splits"):
        load_dataset(tmp_path)
