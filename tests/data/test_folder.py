"""Plain folders of parts."""

import pytest

from clipada.data import load_dataset
from clipada.errors import DatasetError
from listed import listing


def test_one_image_is_a_data_set(plant):
    dataset = load_dataset(plant("part.png"))
    assert listing(dataset) == [("data", "train", "good", "part.png", "")]
    assert dataset.describe() == ("folder layout, 1 category", "data: 1 train / 0 normal + 0 anomalous test")
    dataset.require_training()
    with pytest.raises(DatasetError, match=r"nothing to test on in .*\n  expected: .*\n  got: 1 training images only"):
        dataset.require_test()


@pytest.mark.parametrize("good", ["good", "normal"])
def test_good_parts_alone_are_all_trained_on(plant, good):
    dataset = load_dataset(plant(*(f"{good}/{day}/{i}.png" for day in ("mon", "tue") for i in range(5)), "top.png"))
    assert dataset.describe()[1:] == (
        "data: 10 train / 0 normal + 0 anomalous test",
        f"data: left out: 1 images beside the folder {good}",
        "not used: 1 images in . (1)",
    )


def test_a_fixed_fifth_is_held_out_where_there_are_anomalous_parts(plant):
    root = plant(*(f"good/{i}.png" for i in range(20)), "anomalous/x.png")
    dataset = load_dataset(root)
    held_out = {sample.path.name for sample in dataset.test if not sample.anomalous}
    assert held_out == {"14.png", "4.png", "3.png", "1.png"}  # the lowest of `printf good/14.png | sha256sum`
    assert dataset.describe()[1:] == (
        "data: 16 train / 4 normal + 1 anomalous test",
        "data: 1 anomalous image without a mask",
        "data: 4 of 20 good images held out for the test, chosen by name",
    )
    assert not {sample.path for sample in dataset.train} & {sample.path for sample in dataset.test}
    moved = load_dataset(root.rename(root.with_name("moved")))
    assert {sample.path.name for sample in moved.test if not sample.anomalous} == held_out


@pytest.mark.parametrize(("good", "train", "test"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (7, 6, 1), (8, 6, 2)])
def test_at_least_one_is_held_out_but_never_the_last(plant, good, train, test):
    root = plant(*(f"{i}.png" for i in range(good)), "anomalous/x.png")
    described = load_dataset(root).describe()
    assert described[1] == f"data: {train} train / {test} normal + 1 anomalous test"
    assert ("no good image held out" in described[-1]) is (good < 2)


def test_defect_kinds_and_masks_mirror_each_other(plant):
    root = plant(
        "good/0.png", "good/1.png",
        "anomalous/0.png", "anomalous/cut/0.png", "anomalous/cut/deep/0.png", "anomalous/hole/0.png",
        "masks/0_mask.png", "masks/cut/0.png", "masks/cut/deep/0_gt.tif", "masks/hole/1.png", "masks/none/0.png",
    )  # fmt: skip
    dataset = load_dataset(root)
    assert [row[2:] for row in listing(dataset) if row[2] != "good"] == [
        ("anomalous", "anomalous/0.png", "masks/0_mask.png"),
        ("cut", "anomalous/cut/0.png", "masks/cut/0.png"),
        ("cut", "anomalous/cut/deep/0.png", "masks/cut/deep/0_gt.tif"),
        ("hole", "anomalous/hole/0.png", ""),
    ]
    assert "data: left out: 2 masks that belong to no image" in dataset.describe()
    assert "data: 1 anomalous image without a mask" in dataset.describe()


def test_several_products_and_folders_of_no_meaning(plant):
    root = plant(
        "nut/0.png", "bolt/good/0.png", "bolt/good/1.png", "bolt/anomalous/0.png", "bolt/old/0.png", "docs/a.txt"
    )
    assert load_dataset(root).describe() == (
        "folder layout, 2 categories",
        "bolt: 1 train / 1 normal + 1 anomalous test",
        "bolt: 1 anomalous image without a mask",
        "bolt: 1 of 2 good images held out for the test, chosen by name",
        "bolt: left out: folder old, which has no name of good or defective parts or masks",
        "nut: 1 train / 0 normal + 0 anomalous test",
        "left out: docs, which has no images directly inside or in good",
        "not used: 1 images in bolt/old (1)",
    )


def test_anomalous_parts_called_good_are_refused(plant):
    with pytest.raises(DatasetError, match=r"anomalous images called good in .*\n.*\n.*\n  remedy: move good parts to"):
        load_dataset(plant("good/0.png", "anomalous/good/0.png"))


def test_ambiguous_masks_are_refused(plant):
    with pytest.raises(DatasetError, match="masks are ambiguous"):
        load_dataset(plant("0.png", "anomalous/a.png", "masks/a.png", "masks/a_mask.png"))
