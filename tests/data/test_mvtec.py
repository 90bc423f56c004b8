"""The MVTec AD layout."""

from pathlib import Path

import pytest

from clipada.data import load_dataset
from clipada.errors import DatasetError
from listed import listing


def test_mvtec_is_listed_whole(mvtec):
    dataset = load_dataset(mvtec)
    assert dataset.layout == "mvtec"
    assert listing(dataset) == [
        ("bottle", "train", "good", "bottle/train/good/000.png", ""),
        ("bottle", "train", "good", "bottle/train/good/001.png", ""),
        ("bottle", "train", "good", "bottle/train/good/002.png", ""),
        ("bottle", "test", "good", "bottle/test/good/000.png", ""),
        ("bottle", "test", "good", "bottle/test/good/001.png", ""),
        ("bottle", "test", "crack", "bottle/test/crack/000.png", "bottle/ground_truth/crack/000_mask.png"),
        ("bottle", "test", "crack", "bottle/test/crack/001.png", "bottle/ground_truth/crack/001_mask.png"),
        ("bottle", "test", "stain", "bottle/test/stain/000.png", "bottle/ground_truth/stain/000.bmp"),
        ("cable", "train", "good", "cable/train/good/000.jpg", ""),
        ("cable", "test", "bent", "cable/test/bent/000.jpg", "cable/ground_truth/bent/000_mask.png"),
    ]
    assert dataset.describe() == (
        "MVTec AD layout, 2 categories",
        "bottle: 3 train / 2 normal + 3 anomalous test",
        "cable: 1 train / 0 normal + 1 anomalous test",
        "cable: no test folder of good parts: bent are taken for kinds of defects",
    )


def test_a_single_mvtec_category_is_a_data_set(mvtec, monkeypatch):
    assert load_dataset(mvtec / "bottle").categories == ("bottle",)
    assert len(load_dataset(mvtec / "bottle", "mvtec")) == 8
    monkeypatch.chdir(mvtec / "cable")
    assert load_dataset(Path()).describe()[1] == "cable: 1 train / 0 normal + 1 anomalous test"
    assert load_dataset(Path("..")).categories == ("bottle", "cable")


def test_a_linked_category_keeps_the_link_s_name(mvtec, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "vial").symlink_to(mvtec / "bottle")
    assert load_dataset(tmp_path / "linked").describe()[1] == "vial: 3 train / 2 normal + 3 anomalous test"


def test_visa_re_laid_as_mvtec(plant):
    root = plant(
        "candle/train/good/0.JPG",
        "candle/test/good/1.JPG",
        "candle/test/bad/000.JPG",
        "candle/ground_truth/bad/000.png",
    )
    assert listing(load_dataset(root))[2:] == [
        ("candle", "test", "bad", "candle/test/bad/000.JPG", "candle/ground_truth/bad/000.png")
    ]


def test_missing_and_stray_masks_and_folders_are_said(mvtec, plant):
    (mvtec / "bottle/ground_truth/crack/001_mask.png").rename(mvtec / "bottle/ground_truth/crack/007_mask.png")
    plant(
        "bottle/ground_truth/gone/000_mask.png", "bottle/ground_truth/good/000.png", "bottle/train/bad/0.png", "x/y.txt"
    )
    dataset = load_dataset(mvtec)
    assert dataset.describe() == (
        "MVTec AD layout, 2 categories",
        "bottle: 3 train / 2 normal + 3 anomalous test",
        "bottle: 1 anomalous image without a mask",
        "bottle: left out: 2 masks that belong to no image",
        "bottle: left out: train/bad, as only train/good is trained on",
        "cable: 1 train / 0 normal + 1 anomalous test",
        "cable: no test folder of good parts: bent are taken for kinds of defects",
        "left out: x, which has no train/good or test",
        "not used: 4 images in bottle/ground_truth/crack (1), bottle/ground_truth/gone (1), "
        "bottle/ground_truth/good (1), bottle/train/bad (1)",
    )
    assert [s.mask for s in dataset.samples if s.path.name == "001.png" and s.anomalous] == [None]


def test_two_masks_for_one_image_are_refused(mvtec, plant):
    plant("bottle/ground_truth/crack/000.png")
    with pytest.raises(
        DatasetError, match=r"crack\n  expected: one mask .*\n  got: 000_mask\.png, 000\.png for 000\.png"
    ):
        load_dataset(mvtec)


def test_one_mask_for_two_images_is_refused(mvtec, plant):
    plant("bottle/test/crack/000.jpg")
    with pytest.raises(DatasetError, match=r"got: 000_mask\.png for 000\.jpg, 000\.png"):
        load_dataset(mvtec)


def test_no_training_and_no_test_images(plant):
    tested = load_dataset(plant("a/test/good/0.png", "a/test/cut/0.png"))
    assert tested.describe()[1] == "a: 0 train / 1 normal + 1 anomalous test"
    with pytest.raises(DatasetError, match=r"nothing to train on in .*\n  expected: .*\n  got: 2 test images only"):
        tested.require_training()
    tested.require_test()
