"""Data sets in the layouts and with the names that other tools and other lines use."""

from __future__ import annotations

import logging
import unicodedata

import pytest

from clipada.data import load_dataset
from clipada.data.listing import find_images
from clipada.data.names import is_good, mask_owner
from clipada.errors import DatasetError


def counts(dataset) -> tuple[int, int, int, int]:
    """Training images, normal and anomalous test images, and masks."""
    anomalous = [sample for sample in dataset.test if sample.anomalous]
    masks = sum(sample.mask is not None for sample in anomalous)
    return len(dataset.train), len(dataset.test) - len(anomalous), len(anomalous), masks


@pytest.mark.parametrize("good", ["good", "ok", "OK", "Good", "normal", "Normal"])
@pytest.mark.parametrize("bad", ["NG", "ko", "Bad", "crack", "Defect"])
@pytest.mark.parametrize("ending", ["", "_mask", "_GT", "_gt", "-mask", "_label", "_mask_0"])
def test_names_of_good_and_bad_parts_and_of_masks(plant, good, bad, ending):
    root = plant(
        f"part/train/{good}/0.png",
        f"part/train/{good}/week2/0.png",
        f"part/test/{good}/cam1/1.png",
        f"part/test/{bad}/2.png",
        f"part/test/{bad}/cam1/2.png",
        f"part/ground_truth/{bad}/2{ending}.png",
        f"part/ground_truth/{bad}/cam1/2{ending}.png",
    )
    dataset = load_dataset(root)
    assert counts(dataset) == (2, 1, 2, 2)
    assert {sample.defect for sample in dataset.test} == {"good", bad}
    assert all(sample.mask.parent.name == sample.path.parent.name for sample in dataset.test if sample.mask)


def test_btad_and_mvtec_ad_2(plant):
    root = plant(
        "01/train/ok/0.bmp", "01/test/ok/1.bmp", "01/test/ko/2.bmp", "01/ground_truth/ko/2.png",
        "can/train/good/0.png", "can/validation/good/1.png", "can/test_public/good/2.png",
        "can/test_public/bad/3.png", "can/test_public/ground_truth/bad/3_mask.png", "can/test_private/4.png",
    )  # fmt: skip
    dataset = load_dataset(root)
    assert counts(dataset.of("01")) == (1, 1, 1, 1)
    assert counts(dataset.of("can")) == (1, 1, 1, 1)
    assert [sample.path.name for sample in dataset.validation] == ["1.png"]
    assert dataset.describe()[2:] == (
        "can: 1 train / 1 for thresholds / 1 normal + 1 anomalous test",
        "not used: 1 images in can/test_private (1)",
    )


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAIN", "TEST"), ("training", "testing")])
def test_names_of_the_splits(plant, train, test):
    root = plant(f"a/{train}/OK/0.png", f"a/{test}/OK/1.png", f"a/{test}/NG/2.png", "a/Ground_Truth/NG/2_mask.png")
    assert counts(load_dataset(root)) == (1, 1, 1, 1)


def test_real_iad_and_ok_beside_ng(plant):
    names = [f"S{number:04}/nut_{number:04}" for number in range(3)]
    root = plant(
        *(f"nut/OK/{name}_OK_C1.jpg" for name in names),
        *(f"nut/NG/AK/{name}_NG_C1{suffix}" for name in names for suffix in (".jpg", ".png")),
    )
    dataset = load_dataset(root)
    assert counts(dataset) == (2, 1, 3, 3)
    assert {sample.path.suffix for sample in dataset.samples} == {".jpg"}
    assert {sample.defect for sample in dataset.test} == {"good", "AK"}


def test_defects_beside_good_and_their_masks_by_name(plant):
    dataset = load_dataset(plant("good/0.jpg", "good/1.jpg", "crack/2.jpg", "mask/crack/2.jpg", "old/3.jpg"))
    assert counts(dataset) == (1, 1, 1, 1)
    assert [sample.defect for sample in dataset.test] == ["good", "crack"]
    assert dataset.describe()[-1] == "not used: 1 images in old (1)"


@pytest.mark.parametrize("ending", ["_mask", "_GT", "_label"])
def test_masks_beside_images_are_no_images(plant, ending):
    root = plant("a/train/good/0.png", "a/test/good/1.png", "a/test/cut/2.png", f"a/test/cut/2{ending}.png")
    assert counts(load_dataset(root)) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (("train/1.png", "train/1_GT.png", "test/2.png", "test/2_GT.png"), "the folder test with 2 images directly"),
        (("train/1.png", "test/2.png"), "the folder test with 1 images directly"),
        (("kos01/Part0.jpg", "kos01/Part0_label.bmp"), "1 masks beside images in .*kos01, e.g. Part0_label.bmp"),
        (("0.png", "0_mask.png"), "1 masks beside images in .*, e.g. 0_mask.png"),
    ],
)
def test_good_and_defective_parts_in_one_folder_are_refused(plant, names, got):
    with pytest.raises(DatasetError, match=f"cannot be told apart.*\n  expected: .*\n  got: {got}"):
        load_dataset(plant(*names))


def test_several_masks_of_one_image_belong_to_it(plant):
    kinds = ("logical_anomalies", "structural_anomalies")
    root = plant(
        "a/train/good/0.png", "a/validation/good/0.png", "a/test/good/0.png",
        *(f"a/test/{kind}/000.png" for kind in kinds),
        *(f"a/ground_truth/{kind}/000/00{i}.png" for kind in kinds for i in range(3)),
        "a/test/numbered/1.png", "a/ground_truth/numbered/1_mask_0.png", "a/ground_truth/numbered/1_mask_1.png",
    )  # fmt: skip
    dataset = load_dataset(root)
    assert dataset.describe() == (
        "MVTec AD layout, 1 category",
        "a: 1 train / 1 for thresholds / 1 normal + 3 anomalous test",
    )
    assert {sample.defect: [mask.name for mask in sample.masks] for sample in dataset.test if sample.anomalous} == {
        "logical_anomalies": ["000.png", "001.png", "002.png"],
        "structural_anomalies": ["000.png", "001.png", "002.png"],
        "numbered": ["1_mask_0.png", "1_mask_1.png"],
    }


def test_mvtec_3d_has_masks_and_depth_maps_beside_its_images(plant):
    good = [f"bagel/train/good/{kind}" for kind in ("rgb/0.png", "xyz/0.tiff")]
    tested = [
        f"bagel/test/{label}/{kind}" for label in ("good", "hole") for kind in ("rgb/1.png", "xyz/1.tiff", "gt/1.png")
    ]
    dataset = load_dataset(plant(*good, *tested))
    assert counts(dataset) == (1, 1, 1, 1)
    assert {sample.path.parent.name for sample in dataset.samples} == {"rgb"}
    assert dataset.describe()[-1].startswith("not used: 4 images in ")


def test_links_to_folders_that_are_not_followed_are_named(plant, caplog):
    root = plant("a/train/good/0.png", "elsewhere/week2/1.png")
    (root / "a/train/good/week2").symlink_to(root / "elsewhere/week2")
    (root / "b").symlink_to(root / "a")
    dataset = load_dataset(root)
    assert dataset.categories == ("a", "b")
    assert dataset.describe()[-2:] == (
        "not used: 1 images in elsewhere/week2 (1)",
        "not followed: a/train/good/week2, which is a link to a folder",
    )
    with caplog.at_level(logging.WARNING, "clipada"):
        assert [path.name for path in find_images([root / "a"])] == ["0.png"]
        find_images([root / "a"])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"left out: 1 links to folders, which are not followed: {root}/a/train/good/week2\n")


def test_masks_beside_good_images_are_no_images(plant):
    root = plant("good/0.png", "good/0_GT.png", "good/1.png", "good/1_GT.png", "ng/2.png", "ng/2_GT.png")
    assert counts(load_dataset(root)) == (1, 1, 1, 1)


def test_decomposed_names_belong_to_composed_ones(plant):
    name = "größe"
    mask = unicodedata.normalize("NFD", name)
    root = plant("a/train/good/0.png", f"a/test/cut/{name}.png", f"a/ground_truth/cut/{mask}_mask.png")
    assert counts(load_dataset(root)) == (1, 0, 1, 1)


def test_images_that_are_not_read_are_named_and_counted(plant, caplog):
    root = plant("good/0.png", "good/1.jfif", "good/2.gif", "good/3.PGM", "good/4.jp2", "good/notes.txt", "5.raw")
    plant("good/6.tif.gz", "good/7", "good/Thumbs.db", "good/desktop.ini", "good/.DS_Store", "README")
    with caplog.at_level(logging.WARNING, "clipada"):
        assert [path.name for path in find_images([root])] == ["0.png", "1.jfif"]
        find_images([root])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"left out of {root}: 6 files of kinds that are not read: 5.raw, 2.gif, 3.PGM, 4.jp2, ..")


def test_names():
    assert is_good("OK")
    assert not is_good("NG")
    assert (mask_owner("000_GT"), mask_owner("a-mask"), mask_owner("1_mask_0"), mask_owner("000")) == (
        "000", "a", "1", None,
    )  # fmt: skip
    assert mask_owner("_mask") is None
