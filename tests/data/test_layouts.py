"""Each layout is recognized, listed whole, and what is left out is said."""

import os
import time
from pathlib import Path

import pytest

from clipada.data import Dataset, load_dataset, load_mask, read_batches
from clipada.errors import DatasetError

SHARED = Path(os.environ.get("CLIPADA_SHARED", Path(__file__).parents[2].parent / "shared"))
MINI = SHARED / "data" / "mvtec-mini"


def listing(dataset: Dataset) -> list[tuple[str, ...]]:
    """Every sample as plain text: category, split, defect, image, mask."""
    root = dataset.root
    return [
        (
            sample.category,
            sample.split,
            sample.defect,
            sample.path.relative_to(root).as_posix(),
            sample.mask.relative_to(root).as_posix() if sample.mask else "",
        )
        for sample in dataset.samples
    ]


# --- MVTec AD


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
        "left out: x, which has no train/good or test",
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


# --- VisA


def test_visa_is_listed_whole(visa):
    dataset = load_dataset(visa)
    assert dataset.layout == "visa"
    normal = "candle/Data/Images/Normal"
    assert listing(dataset) == [
        ("candle", "train", "good", f"{normal}/0000.JPG", ""),
        ("candle", "train", "good", f"{normal}/0001.JPG", ""),
        ("candle", "train", "good", f"{normal}/0003.JPG", ""),
        ("candle", "test", "bad", "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        ("candle", "test", "good", f"{normal}/0002.JPG", ""),
        ("pcb1", "train", "good", "pcb1/Data/Images/Normal/0000.JPG", ""),
    ]
    assert dataset.describe() == (
        "VisA layout, 2 categories",
        "candle: 3 train / 1 normal + 1 anomalous test",
        "pcb1: 1 train / 0 normal + 0 anomalous test",
    )


def test_visa_categories_not_unpacked_are_left_out_and_said(visa):
    (visa / "pcb1/Data/Images/Normal/0000.JPG").unlink()
    dataset = load_dataset(visa)
    assert dataset.categories == ("candle",)
    assert dataset.describe()[-1] == "left out: pcb1, as none of its images exists"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label,", "", "got: no column label"),
        ("pcb1,train", "pcb1,valid", r"got: line 7: pcb1,valid,normal,pcb1/.*"),
        ("test,anomaly", "test,odd", "expected: object, train or test, normal or anomaly"),
        ("test,anomaly", "train,anomaly", "anomalous training image"),
        ("pcb1/Data/Images/Normal/0000.JPG", "", "got: line 7: pcb1,train,normal,,"),
        ("Normal/0001", "Normal/0000", r"each image and each mask once\n  got: .*0000\.JPG twice"),
        ("Normal/0001", "Normal/0009", r"got: 1 that are not there, first .*0009\.JPG\n  remedy: unpack the whole"),
        ("Masks/Anomaly/000", "Masks/Anomaly/001", r"got: 1 that are not there, first .*001\.png"),
        ("0003.JPG,", "0003.JPG,candle/Data/Masks/Anomaly/000.png", "normal image .* has a mask"),
        ("object", '"' + "x" * 200_000, "expected: comma-separated values"),
    ],
)
def test_bad_visa_tables_are_refused(visa, old, new, message):
    table = visa / "split_csv" / "1cls.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(DatasetError, match=message):
        load_dataset(visa)


def test_a_visa_table_that_is_no_text_is_refused(visa):
    (visa / "split_csv" / "1cls.csv").write_bytes(b"\x89PNG\xff\xfe\n\x00")
    with pytest.raises(DatasetError, match="no column object, split, label, image, mask"):
        load_dataset(visa)


def test_a_byte_order_mark_is_no_matter(visa):
    table = visa / "split_csv" / "1cls.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(load_dataset(visa)) == 6


# --- folders


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
        "bolt: left out: folder old, which is none of anomalous, good, masks, normal",
        "nut: 1 train / 0 normal + 0 anomalous test",
        "left out: docs, which has no images directly inside or in good",
    )


def test_anomalous_parts_called_good_are_refused(plant):
    with pytest.raises(DatasetError, match=r"anomalous images called good in .*\n.*\n.*\n  remedy: move good parts to"):
        load_dataset(plant("good/0.png", "anomalous/good/0.png"))


def test_ambiguous_masks_are_refused(plant):
    with pytest.raises(DatasetError, match="masks are ambiguous"):
        load_dataset(plant("0.png", "anomalous/a.png", "masks/a.png", "masks/a_mask.png"))


# --- the way in


def test_missing_folder_file_and_unknown_layout(plant):
    root = plant("part.png")
    with pytest.raises(DatasetError, match=r"no data set folder .*gone\n  expected: a folder\n  got: nothing"):
        load_dataset(root / "gone")
    with pytest.raises(DatasetError, match="got: a file"):
        load_dataset(root / "part.png")
    with pytest.raises(DatasetError, match=r"no layout 'coco'\n  expected: auto \| folder \| mvtec \| visa"):
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
        "train: 3 train / 0 normal + 0 anomalous test"
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
    (batch,) = read_batches([sample.path for sample in some], 256, len(some), 2)
    masks = [load_mask(sample, 256, size) for sample, size in zip(some, batch.sizes, strict=True)]
    assert [mask.any() for mask in masks] == [sample.anomalous for sample in some]
