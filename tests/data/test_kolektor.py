"""KolektorSDD and KolektorSDD2: masks beside images, black for good parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.data import load_dataset, load_mask
from clipada.errors import DatasetError
from listed import listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "surfaces"


def put(path: Path, ending: str, *, marked: bool) -> Path:
    """Write a noisy picture and beside it its mask, with a stripe if ``marked``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path)
    mask = np.zeros((12, 8), np.uint8)
    mask[3:5, 2:6] = 255 * marked
    PIL.Image.fromarray(mask).save(path.with_name(path.stem + ending))
    return path


def test_only_good_images_train_and_the_others_are_counted(root):
    for number in range(6):
        put(root / "train" / f"1000{number}.png", "_GT.png", marked=number in (2, 5))
        put(root / "test" / f"2000{number}.png", "_GT.png", marked=number < 2)
    dataset = load_dataset(root)
    assert dataset.describe() == (
        "Kolektor layout, 1 category",
        "surfaces: 4 train / 4 normal + 2 anomalous test",
        "surfaces: left out: 2 defective images of train, as only good ones are trained on",
        "not used: 4 images in train (4)",
    )
    assert listing(dataset)[-1] == ("surfaces", "test", "defect", "test/20001.png", "test/20001_GT.png")
    mask = load_mask(dataset.test[-1], (12, 8), (8, 12))
    assert mask is not None
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 2]


def test_without_a_split_whole_items_are_held_out(root):
    for item in range(1, 11):
        for part in range(4):
            put(root / f"kos{item:02}" / f"Part{part}.jpg", "_label.bmp", marked=part == item % 4)
    dataset = load_dataset(root, "kolektor")
    assert dataset.describe() == (
        "Kolektor layout, 1 category",
        "surfaces: 24 train / 6 normal + 10 anomalous test",
        "surfaces: 6 of 30 good images, those of 2 of 10 items, held out for the test",
    )
    trained = {sample.path.parent for sample in dataset.train}
    tested = {sample.path.parent for sample in dataset.test if not sample.anomalous}
    assert (len(trained), len(tested), trained & tested) == (8, 2, set())
    assert [sample.split for sample in dataset.samples] == ["train"] * 24 + ["test"] * 16
    assert listing(load_dataset(root)) == listing(dataset)


def test_one_folder_of_images_and_masks_and_several_such_products(root):
    for product in ("nut", "bolt"):
        for number in range(5):
            put(root / product / f"{number}.png", "-mask.png", marked=number == 4)
    assert load_dataset(root / "nut").describe()[1:] == (
        "nut: 3 train / 1 normal + 1 anomalous test",
        "nut: 1 of 4 good images held out for the test, chosen by name",
    )
    assert load_dataset(root).categories == ("bolt", "nut")
    assert len(load_dataset(root).test) == 4


def test_images_without_a_mask_or_with_an_unclear_one_are_named_and_counted(root):
    for number in range(4):
        put(root / "train" / f"{number}.png", "_GT.png", marked=False)
    (root / "train" / "1_GT.png").unlink()
    (root / "train" / "2_GT.png").write_bytes(b"no image")
    assert load_dataset(root).describe() == (
        "Kolektor layout, 1 category",
        "surfaces: 2 train / 0 normal + 0 anomalous test",
        "surfaces: left out: 1 images of train without a mask, e.g. 1.png",
        "surfaces: left out: 1 images of train with unclear masks, e.g. 2.png",
        "not used: 3 images in train (3)",
    )


def test_two_formats_of_the_same_pictures_are_no_masks(root):
    for number in range(3):
        picture = put(root / f"{number}.jpg", "_GT.png", marked=False)
        picture.with_name(f"{number}_GT.png").unlink()
        PIL.Image.open(picture).save(picture.with_suffix(".png"))
    with pytest.raises(DatasetError, match="cannot be told apart"):
        load_dataset(root)
