"""Published data sets with their official numbers of files, and with the odd files that their archives hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.data import Dataset, load_dataset

LOCO = {
    "breakfast_box": (351, 62, 102, 83, 90),
    "juice_bottle": (335, 54, 94, 142, 94),
    "pushpins": (372, 69, 138, 91, 81),
    "screw_bag": (360, 60, 122, 137, 82),
    "splicing_connectors": (360, 60, 119, 108, 85),
}
"""Images to train on, for thresholds, normal ones to test on, logical and structural anomalies."""

BTAD = {
    "01": (400, 21, 49, ".bmp", ".png"),
    "02": (399, 30, 200, ".png", ".png"),
    "03": (1000, 400, 41, ".bmp", ".bmp"),
}
"""Images to train on, normal and anomalous ones to test on; endings of images and masks."""

MPDD = {
    "bracket_black": (289, 32, {"hole": 12, "scratches": 35}),
    "bracket_brown": (185, 26, {"bend_and_parts_mismatch": 17, "parts_mismatch": 34}),
    "bracket_white": (110, 30, {"defective_painting": 13, "scratches": 17}),
    "connector": (128, 30, {"parts_mismatch": 14}),
    "metal_plate": (54, 26, {"major_rust": 14, "scratches": 34, "total_rust": 23}),
    "tubes": (122, 32, {"anomalous": 69}),
}
"""Images to train on, normal ones to test on, and anomalous ones by kind of defect."""

AD_2 = ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")
MAGNETIC_TILE = {"Free": 952, "Blowhole": 115, "Break": 85, "Crack": 57, "Fray": 32, "Uneven": 103}


def put(folder: Path, names: Iterable[str], content: bytes = b"") -> None:
    """Write files of the same content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)


def numbered(count: int, ending: str, begin: str = "") -> list[str]:
    return [f"{begin}{number:03}{ending}" for number in range(count)]


def picture(*, marked: bool) -> bytes:
    """The content of a mask of 4 x 4 pixels."""
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 1] = 255 * marked
    file = BytesIO()
    PIL.Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def counts(dataset: Dataset) -> tuple[int, int, int, int]:
    """Images to train on, for thresholds, normal and anomalous ones to test on."""
    anomalous = sum(sample.anomalous for sample in dataset.test)
    return len(dataset.train), len(dataset.validation), len(dataset.test) - anomalous, anomalous


def shared_out(total: int, parts: int) -> list[int]:
    """Sizes of nearly equal parts of a number."""
    return [total // parts + (place < total % parts) for place in range(parts)]


def test_mvtec_ad_2(tmp_path: Path) -> None:
    sizes = (shared_out(total, len(AD_2)) for total in (2528, 302, 379, 705, 2045))
    for category, train, validation, good, bad, private in zip(AD_2, *sizes, strict=True):
        folder = tmp_path / "mvtec_ad_2" / category
        put(folder / "train/good", numbered(train, "_regular.png"))
        put(folder / "validation/good", numbered(validation, "_regular.png"))
        put(folder / "test_public/good", numbered(good, "_overexposed.png"))
        put(folder / "test_public/bad", numbered(bad, "_underexposed.png"))
        put(folder / "test_public/ground_truth/bad", numbered(bad, "_underexposed_mask.png"))
        put(folder / "test_private", numbered(private, "_regular.png"))
        put(folder / "test_private_mixed", numbered(private, "_mixed.png"))
    put(tmp_path / "mvtec_ad_2", ["license.txt", "readme.txt"])
    dataset = load_dataset(tmp_path / "mvtec_ad_2")
    assert dataset.categories == AD_2
    assert counts(dataset) == (2528, 302, 379, 705)
    assert all(
        sample.mask and sample.mask.stem == f"{sample.path.stem}_mask" for sample in dataset.test if sample.anomalous
    )
    assert [line for line in dataset.describe() if "left out" in line] == []
    assert dataset.describe()[-1].startswith("not used: 4,090 images in can/test_private (256), can/test_private_mixed")


def test_mvtec_loco_ad(tmp_path: Path) -> None:
    spare = 1246 - 993
    for category, (train, validation, good, logical, structural) in LOCO.items():
        folder = tmp_path / category
        put(folder / "train/good", numbered(train, ".png"))
        put(folder / "validation/good", numbered(validation, ".png"))
        put(folder / "test/good", numbered(good, ".png"))
        for kind, total in (("logical_anomalies", logical), ("structural_anomalies", structural)):
            put(folder / "test" / kind, numbered(total, ".png"))
            for number in range(total):
                several = min(spare, 1)
                put(folder / "ground_truth" / kind / f"{number:03}", numbered(1 + several, ".png"))
                spare -= several
        put(folder, ["defects_config.json", "license.txt", "readme.txt"])
    dataset = load_dataset(tmp_path)
    assert counts(dataset) == (1778, 305, 575, 993)
    assert Counter(sample.defect for sample in dataset.test if sample.anomalous) == {
        "logical_anomalies": 561,
        "structural_anomalies": 432,
    }
    assert sum(len(sample.masks) for sample in dataset.test) == 1246
    assert all(mask.parent.name == sample.path.stem for sample in dataset.test for mask in sample.masks)
    assert dict(dataset.saturation_files) == {name: tmp_path / name / "defects_config.json" for name in LOCO}
    assert not dataset.notes


def test_btad(tmp_path: Path) -> None:
    for category, (train, good, bad, ending, masks) in BTAD.items():
        put(tmp_path / category / "train/ok", numbered(train, ending))
        put(tmp_path / category / "test/ok", numbered(good, ending))
        put(tmp_path / category / "test/ko", numbered(bad, ending))
        put(tmp_path / category / "ground_truth/ko", numbered(bad, masks))
    dataset = load_dataset(tmp_path)
    assert counts(dataset) == (1799, 0, 451, 290)
    assert all(sample.mask and sample.mask.stem == sample.path.stem for sample in dataset.test if sample.anomalous)
    assert not dataset.notes


def test_mpdd(tmp_path: Path) -> None:
    for category, (train, good, kinds) in MPDD.items():
        put(tmp_path / category / "train/good", numbered(train, ".png"))
        put(tmp_path / category / "test/good", numbered(good, ".png"))
        for kind, total in kinds.items():
            put(tmp_path / category / "test" / kind, numbered(total, ".png"))
            put(tmp_path / category / "ground_truth" / kind, numbered(total, "_mask.png"))
    dataset = load_dataset(tmp_path)
    assert counts(dataset) == (888, 0, 176, 282)
    assert all(sample.mask for sample in dataset.test if sample.anomalous)
    assert {sample.defect for sample in dataset.of("tubes").test} == {"good", "anomalous"}
    assert not dataset.notes


def test_kolektor_sdd_2_with_its_copies(tmp_path: Path) -> None:
    black, marked = picture(marked=False), picture(marked=True)
    for split, first, good, bad in (("train", 10000, 2085, 246), ("test", 20000, 894, 110)):
        numbers = range(first, first + good + bad)
        put(tmp_path / split, (f"{number}.png" for number in numbers))
        put(tmp_path / split, (f"{number}_GT.png" for number in numbers[bad:]), black)
        put(tmp_path / split, (f"{number}_GT.png" for number in numbers[:bad]), marked)
    put(tmp_path / "train", ["10301 (copy).png"])
    put(tmp_path / "train", ["10301_GT (copy).png"], black)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "kolektor"
    assert counts(dataset) == (2085, 0, 894, 110)
    notes = "\n".join(dataset.describe())
    assert "left out: 2 images of train without a mask, e.g. 10301 (copy).png" in notes
    assert "left out: 246 defective images of train, as only good ones are trained on" in notes


def test_kolektor_sdd(tmp_path: Path) -> None:
    black, marked = picture(marked=False), picture(marked=True)
    for item in range(50):
        parts, folder = range(7 if item == 49 else 8), tmp_path / f"kos{item + 1:02}"
        defective = {0, 1} if item < 2 else {item % len(parts)}
        put(folder, (f"Part{part}.jpg" for part in parts))
        put(folder, (f"Part{part}_label.bmp" for part in set(parts) - defective), black)
        put(folder, (f"Part{part}_label.bmp" for part in defective), marked)
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "kolektor"
    train, _, good, anomalous = counts(dataset)
    assert (train + good, anomalous) == (347, 52)
    assert 60 <= good <= 80
    assert not {sample.path.parent for sample in dataset.train} & {
        sample.path.parent for sample in dataset.test if not sample.anomalous
    }


def tiles(root: Path) -> Path:
    for kind, total in MAGNETIC_TILE.items():
        put(root / f"MT_{kind}" / "Imgs", numbered(total, ".jpg", "exp1_num_"))
        put(root / f"MT_{kind}" / "Imgs", numbered(total, ".png", "exp1_num_"))
    put(root, ["README.md", "dataset.jpg"])
    return root


def test_magnetic_tile(tmp_path: Path) -> None:
    dataset = load_dataset(tiles(tmp_path / "Magnetic-tile-defect-datasets"))
    assert dataset.layout == "magnetic_tile"
    assert counts(dataset) == (762, 0, 190, 392)
    found = Counter(sample.defect for sample in dataset.test if sample.anomalous)
    assert found == {kind: total for kind, total in MAGNETIC_TILE.items() if kind != "Free"}
    assert all(sample.mask == sample.path.with_suffix(".png") for sample in dataset.test if sample.anomalous)
    assert dataset.describe()[2:] == (
        "Magnetic-tile-defect-datasets: 190 of 952 good images held out for the test, chosen by name",
        "not used: 1 images in . (1)",
    )
    assert load_dataset(tmp_path).samples == dataset.samples


def test_odd_files_among_magnetic_tiles_are_passed_over_or_counted(tmp_path: Path) -> None:
    root = tiles(tmp_path / "tiles")
    folder = root / "MT_Crack" / "Imgs"
    (folder / "exp1_num_000.png").unlink()
    (folder / "exp1_num_001.jpg").rename(folder / "exp1_num_001.JPG")
    put(folder, [".exp1_num_900.jpg", "exp1_num_901.png", "notes.txt"])
    (root / "MT_Fray").rename(root / "mt_fray")
    put(root / "MT_Free" / "Imgs" / "old", ["exp1_num_902.jpg"])
    dataset = load_dataset(root)
    assert counts(dataset) == (762, 0, 190, 392)
    notes = "\n".join(dataset.describe())
    assert "tiles: 1 anomalous image without a mask" in notes
    assert "tiles: left out: 1 masks that belong to no image" in notes
    assert "not used: 3 images in . (1), MT_Crack/Imgs (1), MT_Free/Imgs/old (1)" in notes


@pytest.mark.parametrize("root", ["", "screw_bag"])
def test_saturation_files_are_those_of_the_categories(root: str, tmp_path: Path) -> None:
    put(tmp_path / "screw_bag/train/good", ["0.png"])
    put(tmp_path / "screw_bag", ["defects_config.json"])
    put(tmp_path, ["defects_config.json"])
    found = load_dataset(tmp_path / root).saturation_files
    assert found == {"screw_bag": tmp_path / "screw_bag" / "defects_config.json"}
