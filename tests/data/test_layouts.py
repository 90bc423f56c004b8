"""Each layout is recognized, listed whole, and what is left out is said."""

import os
import time
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
    with pytest.raises(DatasetError, match=r"no layout 'coco'\n.*: auto \| folder \| kolektor \| mvtec \| visa"):
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

MVTEC = {
    "bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109), "carpet": (280, 28, 89),
    "grid": (264, 21, 57), "hazelnut": (391, 40, 70), "leather": (245, 32, 92), "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141), "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119),
}  # fmt: skip
VISA = {
    "candle": (900, 100, 100), "capsules": (542, 60, 100), "cashew": (450, 50, 100), "chewinggum": (453, 50, 100),
    "fryum": (450, 50, 100), "macaroni1": (900, 100, 100), "macaroni2": (900, 100, 100), "pcb1": (904, 100, 100),
    "pcb2": (901, 100, 100), "pcb3": (905, 101, 100), "pcb4": (904, 101, 100), "pipe_fryum": (450, 50, 100),
}  # fmt: skip


def numbered(folder: str, count: int, ending: str) -> list[str]:
    return [f"{folder}/{i:04}{ending}" for i in range(count)]


def test_mvtec_at_full_size_is_listed_at_once(plant):
    for name, (train, normal, anomalous) in MVTEC.items():
        plant(*numbered(f"{name}/train/good", train, ".png"), *numbered(f"{name}/test/good", normal, ".png"))
        plant(*numbered(f"{name}/test/cut", anomalous, ".png"))
        root = plant(*numbered(f"{name}/ground_truth/cut", anomalous, "_mask.png"))
    start = time.perf_counter()
    dataset = load_dataset(root)
    assert time.perf_counter() - start < 2
    assert (len(dataset), len(dataset.train), len(dataset.test)) == (5_354, 3_629, 1_725)
    assert all((sample.mask is not None) is sample.anomalous for sample in dataset.samples)
    assert len(dataset.describe()) == 16


def test_visa_at_full_size_is_listed_at_once(plant):
    rows = ["object,split,label,image,mask"]
    for name, (train, normal, anomalous) in VISA.items():
        good = numbered(f"{name}/Data/Images/Normal", train + normal, ".JPG")
        bad = numbered(f"{name}/Data/Images/Anomaly", anomalous, ".JPG")
        masks = numbered(f"{name}/Data/Masks/Anomaly", anomalous, ".png")
        rows += [f"{name},train,normal,{path}," for path in good[:train]]
        rows += [f"{name},test,normal,{path}," for path in good[train:]]
        rows += [f"{name},test,anomaly,{path},{mask}" for path, mask in zip(bad, masks, strict=True)]
        root = plant(*good, *bad, *masks, "split_csv/1cls.csv")
    (root / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    start = time.perf_counter()
    dataset = load_dataset(root)
    assert time.perf_counter() - start < 2
    assert (len(dataset), len(dataset.train), len(dataset.test)) == (10_821, 8_659, 2_162)
    assert sum(sample.anomalous for sample in dataset.test) == 1_200
    assert dataset.categories == tuple(VISA)


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
