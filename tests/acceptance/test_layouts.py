"""Data sets as other tools lay them out: counted right, each mask on its defect, nothing passed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.data import load_dataset, load_mask
from command_line import Command

SIDE = 64
GOOD, TESTED, BAD = range(6), range(10, 14), range(20, 24)
"""Numbers of the good parts to train on, of those to test on, and of the defective ones."""


def truth(number: int) -> np.ndarray:
    """The defect of a part; none of a good one."""
    mask = np.zeros((SIDE, SIDE), bool)
    if number in BAD:
        top = 8 + 9 * (number - BAD[0])
        mask[top : top + 12, 30:50] = True
    return mask


def put(path: Path, number: int) -> None:
    """Write the picture of a part: noise, and bright where it is defective."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(number).integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    image[truth(number)] += 100
    PIL.Image.fromarray(image).save(path)


def put_mask(path: Path, values: np.ndarray, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(values.astype(np.uint8)).save(path, **options)


def put_all(root: Path, train: str, good: str, bad: str, mask: str) -> None:
    """Write all parts by patterns of their places, with a number in each; masks too unless ``mask`` is empty."""
    for number in GOOD:
        put(root / train.format(number), number)
    for number in TESTED:
        put(root / good.format(number), number)
    for number in BAD:
        put(root / bad.format(number), number)
        if mask:
            put_mask(root / mask.format(number), truth(number) * 255)


def mvtec(root: Path) -> None:
    put_all(root, "a/train/good/{}.png", "a/test/good/{}.png", "a/test/cut/{}.png", "a/ground_truth/cut/{}_mask.png")


def mvtec_ad_2(root: Path) -> None:
    can, masks = root / "can", "test_public/ground_truth/bad/{}_mask.png"
    put_all(can, "train/good/{}.png", "test_public/good/{}.png", "test_public/bad/{}.png", masks)
    put(root / "can/validation/good/90.png", 90)
    put(root / "can/test_private/91.png", 91)


def loco(root: Path) -> None:
    put_all(root, "a/train/good/{}.png", "a/test/good/{}.png", "a/test/logical_anomalies/{}.png", "")
    for number in BAD:
        for index, half in enumerate((slice(0, 40), slice(40, SIDE))):
            part = np.zeros((SIDE, SIDE))
            part[:, half] = truth(number)[:, half] * (236 + index)
            put_mask(root / f"a/ground_truth/logical_anomalies/{number}/00{index}.png", part)
    put(root / "a/validation/good/90.png", 90)


def btad(root: Path) -> None:
    put_all(root, "01/train/ok/{}.bmp", "01/test/ok/{}.bmp", "01/test/ko/{}.bmp", "01/ground_truth/ko/{}.png")


def ksdd2(root: Path) -> None:
    put_all(root, "train/1{:04}.png", "test/2{:04}.png", "test/2{:04}.png", "test/2{:04}_GT.png")
    for number in GOOD:
        put_mask(root / f"train/1{number:04}_GT.png", truth(number))
    for number in TESTED:
        put_mask(root / f"test/2{number:04}_GT.png", truth(number))


def ok_and_ng(root: Path) -> None:
    put_all(root, "train/OK/{}.png", "test/OK/{}.png", "test/NG/{}.png", "")


def capital(root: Path) -> None:
    put_all(root, "a/train/Good/{}.png", "a/test/Good/{}.png", "a/test/Cut/{}.png", "a/ground_truth/Cut/{}_mask.png")


def normal(root: Path) -> None:
    put_all(root, "a/train/good/{}.png", "a/test/normal/{}.png", "a/test/cut/{}.png", "a/ground_truth/cut/{}_mask.png")


def nested(root: Path) -> None:
    masks = "ground_truth/cut/cam/{}_mask.png"
    put_all(root / "a", "train/good/day{}/x.png", "test/good/cam/{}.png", "test/cut/cam/{}.png", masks)


def label_tool(root: Path) -> None:
    put_all(root, "a/train/good/{}.png", "a/test/good/{}.png", "a/test/cut/{}.jpg", "a/test/cut/{}_mask.png")
    (root / "a/test/cut/20.json").write_text('{"shapes": []}')


def odd_names(root: Path) -> None:
    mvtec(root)
    (root / "a").rename(root / "metal nut (rev. {B}) größe")


def linked(root: Path) -> None:
    mvtec(root.with_name("elsewhere"))
    root.mkdir()
    (root / "b").symlink_to(root.with_name("elsewhere") / "a")


@pytest.mark.parametrize(
    ("write", "masks", "unused"),
    [
        (mvtec, 4, 0), (mvtec_ad_2, 4, 1), (loco, 4, 0), (btad, 4, 0), (ksdd2, 4, 0), (ok_and_ng, 0, 0),
        (capital, 4, 0), (normal, 4, 0), (nested, 4, 0), (label_tool, 4, 0), (odd_names, 4, 0), (linked, 4, 0),
    ],
)  # fmt: skip
def test_layouts_with_a_split_are_counted_and_masked_right(
    write: Callable[[Path], None], masks: int, unused: int, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    anomalous = [sample for sample in dataset.test if sample.anomalous]
    assert (len(dataset.train), len(dataset.test), len(anomalous)) == (6, 8, 4)
    assert len(dataset.categories) == 1
    found = [load_mask(sample, SIDE, (SIDE, SIDE)) for sample in anomalous]
    marked = [mask for mask in found if mask is not None]
    assert len(marked) == masks
    for number, mask in zip(BAD, marked, strict=False):
        np.testing.assert_array_equal(mask, truth(number))
    said = [line for line in dataset.describe() if "not used" in line or "left out" in line]
    assert sum(f"not used: {unused} images" in line for line in said) == len(said) == (unused > 0)


def ksdd(root: Path) -> None:
    for place, number in enumerate([*GOOD, *TESTED, *BAD]):
        put(root / f"kos{place // 4 + 1:02}/Part{place % 4}.jpg", number)
        put_mask(root / f"kos{place // 4 + 1:02}/Part{place % 4}_label.bmp", truth(number) * 255)


def real_iad(root: Path) -> None:
    for number in (*GOOD, *TESTED):
        put(root / f"jack/OK/S{number:04}/jack_{number:04}_OK_C1.jpg", number)
    for number in BAD:
        put(root / f"jack/NG/AK/S{number:04}/jack_{number:04}_NG_C1.jpg", number)
        put_mask(root / f"jack/NG/AK/S{number:04}/jack_{number:04}_NG_C1.png", truth(number) * 255)


def toy(root: Path) -> None:
    for number in (*GOOD, *TESTED):
        put(root / f"good/{number}.jpg", number)
    for number in BAD:
        put(root / f"crack/{number}.jpg", number)
        put_mask(root / f"mask/crack/{number}.jpg", truth(number) * 255, quality=90)


@pytest.mark.parametrize("write", [ksdd, real_iad, toy])
def test_layouts_without_a_split_hold_good_parts_out(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    anomalous = [sample for sample in dataset.test if sample.anomalous]
    assert len(anomalous) == 4
    assert len(dataset.train) + len(dataset.test) == 14
    assert 2 <= len(dataset.test) - len(anomalous) <= 4
    assert any("held out for the test" in line for line in dataset.describe())
    for number, sample in zip(BAD, anomalous, strict=True):
        mask = load_mask(sample, SIDE, (SIDE, SIDE))
        assert mask is not None
        assert np.count_nonzero(mask != truth(number)) <= 6


def test_pinholes_of_a_large_picture_are_marked_at_the_model_s_size(tmp_path: Path) -> None:
    mask = np.zeros((2048, 2048))
    mask[900:903, 1100:1103] = 255
    put_mask(tmp_path / "a/ground_truth/pinhole/0_mask.png", mask)
    put(tmp_path / "a/train/good/0.png", 0)
    put(tmp_path / "a/test/pinhole/0.png", 0)
    small = load_mask(load_dataset(tmp_path).test[0], 256, (2048, 2048))
    assert small is not None
    assert np.argwhere(small).tolist() == [[112, 137]]


def test_calibrate_refuses_and_predict_leaves_out(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    toy(tmp_path / "toy")
    mvtec(tmp_path / "mvtec")
    put_all(tmp_path / "line", "OK/{}.png", "OK/{}.png", "NG/{}.png", "drawn/{}.png")
    for folder in ("toy/crack", "toy/mask", "mvtec/a/test/cut", "mvtec/a", "line/NG", "line/drawn"):
        words = ("calibrate", finished_run, tmp_path / folder, "--false-alarm-rate", 0.5, "--confidence", 0.5)
        clipada(*words).refused(str(tmp_path / folder))
    outcome = clipada("predict", finished_run, tmp_path / "line" / "drawn")
    assert outcome.code == 1
    assert ["is a ground-truth mask, not a photo" in record["error"] for record in outcome.records] == [True] * 4
    outcome = clipada("predict", finished_run, tmp_path / "mvtec", "--out", tmp_path / "out")
    assert sum("is a ground-truth mask" in record.get("error", "") for record in outcome.records) == 4
    assert "left out 4" in outcome.err
    assert len(list((tmp_path / "out").rglob("*.map.png"))) == 14
    assert not os.path.lexists(tmp_path / "out" / "a" / "ground_truth")
