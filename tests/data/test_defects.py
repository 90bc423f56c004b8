"""Photos of known defects: found in every layout, with masks, boxes or neither, and what cannot be used is counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from boxes import write_boxes
from clipada.data import Dataset, load_dataset
from clipada.data.boxes import box_mask, boxes_in
from clipada.data.defects import load_defects, marked_area
from clipada.errors import DatasetError
from clipada.types import Sample
from tiny import save, write_products


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def square() -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:10, 6:12] = 255
    return mask


def trained_on(*products: str, path: Path = Path("nowhere.png")) -> Dataset:
    samples = tuple(Sample(path=path, category=name, split="train") for name in products)
    return Dataset(root=Path("nowhere"), layout="folder", samples=samples)


def kinds(samples: tuple[Sample, ...]) -> list[tuple[str, str, bool]]:
    return sorted((one.category, one.defect, bool(one.masks)) for one in samples)


def test_photos_of_one_product_with_masks_boxes_or_neither(tmp_path: Path) -> None:
    save(tmp_path / "crack" / "0.png", photo(0))
    save(tmp_path / "masks" / "crack" / "0.png", square())
    save(tmp_path / "spot" / "1.png", photo(1))
    save(tmp_path / "spot" / "1_mask.png", square())
    save(tmp_path / "2.png", photo(2))
    save(tmp_path / "3.png", photo(3))
    write_boxes(tmp_path / "boxes.json", {"3.png": [6, 4, 6, 6]})
    found = load_defects(tmp_path, trained_on("nut"))
    assert kinds(found.samples) == [
        ("nut", "crack", True),
        ("nut", "defective", False),
        ("nut", "defective", False),
        ("nut", "spot", True),
    ]
    areas = {one.path.stem: marked_area(one, (30, 20)) for one in found.samples}
    for name in ("0", "1", "3"):
        np.testing.assert_array_equal(areas[name], square() > 0)
    assert areas["2"] is None
    assert "4 photos of defects (2 with masks, 1 with boxes, 1 with neither)" in found.describe()[0]


def test_a_folder_for_each_product(tmp_path: Path) -> None:
    save(tmp_path / "nut" / "0.png", photo(0))
    save(tmp_path / "bolt" / "bent" / "1.png", photo(1))
    found = load_defects(tmp_path, trained_on("bolt", "nut", "screw"))
    assert kinds(found.samples) == [("bolt", "bent", False), ("nut", "defective", False)]


def test_the_anomalous_images_of_the_data_set_itself(tmp_path: Path) -> None:
    dataset = load_dataset(write_products(tmp_path))
    found = load_defects(tmp_path, dataset)
    assert kinds(found.samples) == [("disc", "scratch", True)] * 2 + [("plate", "scratch", True)] * 2
    one = load_defects(tmp_path, dataset.of("disc"))
    assert kinds(one.samples) == [("disc", "scratch", True)] * 2
    other = load_defects(tmp_path, trained_on("disc"))
    assert kinds(other.samples) == kinds(one.samples)
    assert any("left out: 2 photos of defects of plate" in note for note in other.notes)


def test_a_folder_named_after_defects_is_of_the_product_around_it(tmp_path: Path) -> None:
    save(tmp_path / "nut" / "anomalous" / "0.png", photo(0))
    save(tmp_path / "nut" / "masks" / "0.png", square())
    found = load_defects(tmp_path / "nut" / "anomalous", trained_on("bolt", "nut"))
    assert kinds(found.samples) == [("nut", "defective", True)]


def test_test_images_without_any_good_part(tmp_path: Path) -> None:
    save(tmp_path / "nut" / "test" / "crack" / "0.png", photo(0))
    save(tmp_path / "nut" / "ground_truth" / "crack" / "0_mask.png", square())
    for folder in (tmp_path, tmp_path / "nut", tmp_path / "nut" / "test"):
        assert kinds(load_defects(folder, trained_on("bolt", "nut")).samples) == [("nut", "crack", True)]


def test_good_parts_among_defects_are_left_out(tmp_path: Path) -> None:
    save(tmp_path / "ok" / "0.png", photo(0))
    save(tmp_path / "crack" / "1.png", photo(1))
    found = load_defects(tmp_path, trained_on("nut"))
    assert kinds(found.samples) == [("nut", "crack", False)]
    assert any("left out: 1 image of good parts" in note for note in found.notes)


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    save(tmp_path / "0.png", photo(0))
    save(tmp_path / "again.png", photo(0))
    save(tmp_path / "1.png", photo(1))
    save(tmp_path / "1_mask.png", np.zeros((20, 30), np.uint8))
    save(tmp_path / "2.png", photo(2))
    save(tmp_path / "2_mask.png", np.pad(square(), ((0, 20), (0, 0))))
    save(tmp_path / "masks" / "7.png", square())
    (tmp_path / "broken.png").write_bytes(b"no image")
    write_boxes(tmp_path / "boxes.json", {"9.png": [0, 0, 3, 3]})
    found = load_defects(tmp_path, trained_on("nut"))
    assert [one.path.name for one in found.samples] == ["0.png"]
    notes = " / ".join(found.notes)
    for said in ("1 mask in", "boxes of 1 image", "2 photos of defects that cannot be used", "same content", "empty"):
        assert said in notes, notes


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("missing", "no folder of defects"),
        ("empty", "no photos of defects"),
        ("black", "no photo of a defect"),
        ("unknown", "defects of unknown products"),
        ("trained", "is also a training image"),
        ("boxes", "cannot use the boxes"),
    ],
)
def test_wrong_folders_are_errors(tmp_path: Path, bad: str, said: str) -> None:
    folder, good = tmp_path / "defects", tmp_path / "good" / "5.png"
    save(good, photo(0 if bad == "trained" else 5))
    if bad != "missing":
        folder.mkdir()
    if bad not in ("missing", "empty"):
        save(folder / ("bolts" if bad == "unknown" else "nut") / "0.png", photo(0))
    if bad == "black":
        save(folder / "nut" / "0_mask.png", np.zeros((20, 30), np.uint8))
    if bad == "boxes":
        (folder / "nut" / "boxes.json").write_text('{"labels": []}')
    with pytest.raises(DatasetError, match=said):
        load_defects(folder, trained_on("bolt", "nut", path=good))


@pytest.mark.parametrize("box", [[1, 1, 0, 4], [1, 1, float("nan"), 4], [40, 1, 5, 5], [1, 2, 3], "abcd"])
def test_boxes_that_are_none_are_errors(tmp_path: Path, box: list[float]) -> None:
    write_boxes(tmp_path / "boxes.json", {"0.png": box})
    with pytest.raises(DatasetError, match="cannot use the boxes"):
        boxes_in(tmp_path)


def test_the_annotation_that_is_wrong_is_named(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes.json", {"0.png": [1, 1, 5, 5], "1.png": [2, 2, 5, 5]})
    content = json.loads((tmp_path / "boxes.json").read_text())
    del content["images"][1]["width"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError) as error:
        boxes_in(tmp_path)
    assert error.value.got == "annotation 2, for which 'width' is missing"


def test_boxes_are_shares_of_the_image_that_was_labeled(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes.json", {"0.png": [60, 40, 60, 60]}, (300, 200))
    (boxes,) = boxes_in(tmp_path).values()
    np.testing.assert_array_equal(box_mask(boxes, (20, 30)), square() > 0)
    tiny = box_mask([(0.999, 0.999, 1.0, 1.0)], (20, 30))
    assert tiny.sum() == 1
    assert tiny[-1, -1]
