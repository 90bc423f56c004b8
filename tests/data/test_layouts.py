"""Each layout is recognized, listed whole, and what is left out is said."""

import os
from pathlib import Path

import pytest

from clipada.data import load_dataset, load_mask, read_batches
from clipada.errors import DatasetError

SHARED = Path(os.environ.get("CLIPADA_SHARED", Path(__file__).parents[2].parent / "shared"))
MINI = SHARED / "data" / "mvtec-mini"


# --- the way in


def test_missing_folder_file_and_unknown_layout(plant):
    root = plant("part.png")
    with pytest.raises(DatasetError, match=r"no data set folder .*gone\n  expected: a folder\n  got: nothing"):
        load_dataset(root / "gone")
    with pytest.raises(DatasetError, match="got: a file"):
        load_dataset(root / "part.png")
    with pytest.raises(
        DatasetError, match=r"no layout 'coco'\n.*: auto \| folder \| kolektor \| .*\| real_iad \| visa"
    ):
        load_dataset(root, "coco")


def test_an_empty_folder_names_the_layouts(plant):
    with pytest.raises(DatasetError) as refusal:
        load_dataset(plant())
    assert refusal.value.what.startswith("no data set with images in ")
    assert "visa: split_csv/1cls.csv" in refusal.value.expected
    assert "mvtec: <category>/train/good" in refusal.value.expected
    assert "folder: images of good parts" in refusal.value.expected
    assert refusal.value.got == "an empty folder"


def test_a_folder_without_images_says_what_it_holds(plant):
    root = plant("a/notes.txt", "b/train/good/readme.md", *(f"{i}.txt" for i in range(8)))
    with pytest.raises(DatasetError, match=r"got: 2 folders \(a, b\) and 8 files \(0\.txt, .*5\.txt, \.\.\.\)"):
        load_dataset(root)


def test_a_layout_can_be_insisted_on(mvtec, visa):
    with pytest.raises(DatasetError, match=r"expected: this layout:\n    mvtec: "):
        load_dataset(visa / "split_csv", "mvtec")
    assert load_dataset(mvtec / "bottle" / "train", "folder").describe()[1] == (
        "bottle: 3 train / 0 normal + 0 anomalous test"
    )


def test_a_folder_named_test_does_not_hide_good_parts(plant):
    assert load_dataset(plant("good/0.png", "test/notes/a.txt")).layout == "folder"


def test_a_folder_that_cannot_be_listed_is_an_error(plant, monkeypatch):
    root = plant("good/0.png")

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("clipada.data.listing.os.scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot list folder .*\n  expected: a folder\n  got: Permission denied"):
        load_dataset(root)


def test_categories_can_be_chosen(mvtec):
    assert load_dataset(mvtec, categories=["cable"]).categories == ("cable",)
    with pytest.raises(DatasetError, match=r"no category 'vial' in .*\n  expected: one or more of bottle, cable"):
        load_dataset(mvtec, categories=["cable", "vial"])


# --- official sizes


def numbered(folder: str, count: int, ending: str) -> list[str]:
    return [f"{folder}/{i:04}{ending}" for i in range(count)]


def test_files_are_listed_folder_by_folder_however_many_there_are(plant, monkeypatch):
    """A check of each file would take minutes on a network share."""
    looked: list[object] = []

    def counted(look):
        return lambda path, *args, **options: (looked.append(path), look(path, *args, **options))[1]

    for name in ("scandir", "stat", "lstat"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    counts = []
    for number in (2, 80):
        plant(*numbered("a/train/good", number, ".png"), *numbered("a/test/cut", number, ".png"))
        root = plant(*numbered("a/ground_truth/cut", number, "_mask.png"))
        looked.clear()
        assert len(load_dataset(root)) == 2 * number
        counts.append(len(looked))
    assert counts[0] == counts[1]


@pytest.mark.skipif(not MINI.is_dir(), reason=f"no mvtec-mini in {SHARED / 'data'}; CLIPADA_SHARED can name its parent")
def test_the_real_mvtec_mini():
    dataset = load_dataset(MINI)
    assert dataset.describe() == (
        "MVTec AD layout, 3 categories",
        "bottle: 209 train / 20 normal + 63 anomalous test",
        "screw: 320 train / 41 normal + 119 anomalous test",
        "tire: 210 train / 25 normal + 87 anomalous test",
    )
    assert all((sample.mask is not None) is sample.anomalous for sample in dataset.samples)
    some = [sample for name in dataset.categories for sample in dataset.of(name).test[::40]]
    (batch,) = read_batches([sample.path for sample in some], (256, 256), len(some), 2)
    masks = [load_mask(sample, (256, 256), size) for sample, size in zip(some, batch.sizes, strict=True)]
    assert [mask.any() for mask in masks] == [sample.anomalous for sample in some]
