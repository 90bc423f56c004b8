"""Masks and defective parts among images: recognized by content and by names, and photos are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.data import load_dataset
from clipada.data.labels import mask_error, refuse_defects
from clipada.errors import DatasetError
from clipada.types import Verdict
from tiny import save

RNG = np.random.default_rng(0)


def verdict(image: np.ndarray, name: str = "0.png", *, inspectable: bool | None = None) -> Verdict:
    return Verdict(
        score=0.5,
        image=image if image.ndim == 3 else np.dstack([image] * 3).astype(np.uint8),
        anomaly_map=np.zeros(image.shape[:2], np.float32),
        regions=(),
        threshold=0.5,
        path=Path("part") / name,
        image_sha256="0" * 64,
        time="2026-01-01T00:00:00+00:00",
        latency_ms=1.0,
        inspectable=inspectable,
    )


def marked(low: int = 0, high: int = 255) -> np.ndarray:
    mask = np.full((96, 80), low)
    mask[20:50, 30:60] = high
    return mask


def smooth() -> np.ndarray:
    """A mask as a JPEG file has it, or with smooth edges."""
    mask = marked().astype(float)
    mask[19, 30:60] = np.arange(30) * 8
    return mask


def photo(shape: tuple[int, ...] = (96, 80, 3), levels: int = 40) -> np.ndarray:
    return RNG.integers(100, 100 + levels, shape, dtype=np.uint8)


def colored() -> np.ndarray:
    image = np.zeros((96, 80, 3), np.uint8)
    image[20:50, 30:60] = (128, 0, 0)
    return image


MASKS = [marked(), marked(0, 1), marked(1, 2), marked(255, 0), colored(), marked(0, 90) + marked(0, 60)[::-1]]


@pytest.mark.parametrize("image", MASKS, ids=["0-255", "0-1", "1-2", "inverted", "palette", "labels"])
def test_an_image_of_few_flat_colors_is_a_mask_unless_the_product_looks_so(image):
    error = mask_error(verdict(image))
    assert error is not None
    assert error.what == "part/0.png is a ground-truth mask, not a photo"
    assert mask_error(verdict(image, inspectable=False)) is not None
    assert mask_error(verdict(image, inspectable=True)) is None
    assert mask_error(verdict(image, "ground_truth/0.png", inspectable=True)) is not None


@pytest.mark.parametrize("name", ["masks/0.png", "gt/cut/0.png", "0_GT.png", "0-mask.png", "0_label.bmp"])
@pytest.mark.parametrize("image", [marked(0, 0), smooth()], ids=["black", "smooth"])
def test_a_name_decides_where_the_content_may_be_a_photo(image, name):
    assert mask_error(verdict(image, name, inspectable=True)) is not None
    assert mask_error(verdict(image)) is None


@pytest.mark.parametrize(
    "image",
    [
        photo(),
        photo(levels=4),
        np.full((96, 80), 7),
        RNG.integers(0, 3, (96, 80)),
        np.where(marked() > 0, photo((96, 80)), 255),
        np.where(marked() > 0, photo((96, 80)), 0),
    ],
    ids=["photo", "low contrast", "one color", "dark noise", "on white", "on black"],
)
@pytest.mark.parametrize("name", ["0.png", "masks/0.png"])
def test_photos_are_no_masks(image, name):
    """A product may be called masks; an image of one color is one for the input check."""
    one_color = bool(np.ptp(image) == 0)
    assert (mask_error(verdict(image, name)) is not None) is (one_color and name != "0.png")


# --- defective parts


def put(path: Path, image: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray((photo() if image is None else image).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("names", "bad"),
    [
        (["test/good/0.png", "test/crack/0.png"], "test/crack/0.png"),
        (["test/ok/0.png", "test/crack/cam1/week2/0.png"], "test/crack/cam1/week2/0.png"),
        (["OK/0.png", "NG/AK/S0001/0.png"], "NG/AK/S0001/0.png"),
        (["rejects/monday/0.png"], "rejects/monday/0.png"),
        (["good/0.png", "crack/0.png", "mask/crack/0.png"], "crack/0.png"),
        (["good/0.png", "crack/0.png", "mask/crack/0.png"], "mask/crack/0.png"),
        (["test/crack/0.png", "ground_truth/crack/0_mask.png"], "test/crack/0.png"),
    ],
)
def test_images_in_folders_of_defects_or_masks_are_refused(tmp_path, names, bad):
    for name in names:
        put(tmp_path / "line" / name)
    good = [tmp_path / "line" / name for name in names if "ood" in name or "ok" in name.lower()]
    refuse_defects(good)
    with pytest.raises(DatasetError, match=f"{bad} does not seem to show a good part"):
        refuse_defects([*good, tmp_path / "line" / bad])


def test_good_parts_in_a_folder_below_rejects_are_good(tmp_path):
    refuse_defects([put(tmp_path / "rejects" / "good" / "monday" / "0.png")])


def test_a_mask_beside_an_image_says_whether_it_is_good(tmp_path):
    good, bad = put(tmp_path / "part" / "0.png"), put(tmp_path / "part" / "1.png")
    black, mask = put(tmp_path / "part" / "0_GT.png", marked(0, 0)), put(tmp_path / "part" / "1_GT.png", marked())
    refuse_defects([good])
    for path, got in ((bad, "a defect by its mask 1_GT.png"), (mask, "a mask of 1.png"), (black, "a mask of 0.png")):
        with pytest.raises(DatasetError, match=f"{path.name} does not seem to show a good part\n.*\n  got: {got}"):
            refuse_defects([good, path])


def test_the_same_pictures_in_two_formats_are_no_masks(tmp_path):
    picture = photo()
    refuse_defects([put(tmp_path / "part" / "0.jpg", picture), put(tmp_path / "part" / "0.png", picture)])


def test_defects_that_only_file_names_tell_are_refused(tmp_path):
    """A flat folder of OK_*.png and NG_*.png was trained on as good parts alone."""
    for name in ("OK_1", "OK_2", "NG_1"):
        save(tmp_path / "mixed" / f"{name}.png", photo().astype(np.uint8))
    with pytest.raises(DatasetError, match=r"1 images in .*mixed that their names call defective, e\.g\. NG_1\.png"):
        load_dataset(tmp_path / "mixed")
    with pytest.raises(DatasetError, match=r"got: the name NG_1\.png"):
        refuse_defects(sorted((tmp_path / "mixed").iterdir()))
    for name in ("bad_weather_1", "bad_weather_2"):  # all of them: a product's name
        save(tmp_path / "all" / f"{name}.png", photo().astype(np.uint8))
    assert len(load_dataset(tmp_path / "all")) == 2


@pytest.mark.parametrize("ending", ["", "_mask"])
def test_a_folder_of_masks_under_an_unknown_name_is_no_product(tmp_path, ending):
    for index in range(3):
        save(tmp_path / "data" / "pictures" / f"{index}.png", photo().astype(np.uint8))
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 8:16] = 255
        save(tmp_path / "data" / "truth" / f"{index}{ending}.png", mask)
    with pytest.raises(DatasetError, match=r"masks in .*truth of the images in .*pictures"):
        load_dataset(tmp_path / "data")


@pytest.mark.parametrize("good", ["gut", "defect-free", "anomaly_free", "Undamaged", "IO", "accepted"])
def test_further_spellings_of_good(tmp_path, good):
    for split in ("train", "test"):
        save(tmp_path / "nut" / split / good / "0.png", photo().astype(np.uint8))
    save(tmp_path / "nut" / "test" / "bent" / "0.png", photo().astype(np.uint8))
    dataset = load_dataset(tmp_path)
    assert [sample.anomalous for sample in dataset.samples] == [False, False, True]
