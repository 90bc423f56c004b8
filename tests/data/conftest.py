"""Small trees of files in the layouts that data sets come in."""

from collections.abc import Callable
from pathlib import Path

import pytest

Plant = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Make empty files below the folder ``data`` of this test, and give that folder."""
    root = tmp_path / "data"
    root.mkdir()

    def make(*names: str) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return make


@pytest.fixture
def mvtec(plant: Plant) -> Path:
    """Two categories in the MVTec AD layout, with other files beside them."""
    return plant(
        *(f"bottle/train/good/{i:03}.png" for i in range(3)),
        *(f"bottle/test/good/{i:03}.png" for i in range(2)),
        "bottle/test/crack/000.png",
        "bottle/test/crack/001.png",
        "bottle/test/stain/000.png",
        "bottle/ground_truth/crack/000_mask.png",
        "bottle/ground_truth/crack/001_mask.png",
        "bottle/ground_truth/stain/000.bmp",
        "cable/train/good/000.jpg",
        "cable/test/bent/000.jpg",
        "cable/ground_truth/bent/000_mask.png",
        "readme.txt",
        ".thumbnails/000.png",
        "bottle/train/good/.000.png",
    )


@pytest.fixture
def visa(plant: Plant) -> Path:
    """Two categories of VisA as published."""
    root = plant(
        *(f"candle/Data/Images/Normal/{i:04}.JPG" for i in range(4)),
        "candle/Data/Images/Anomaly/000.JPG",
        "candle/Data/Masks/Anomaly/000.png",
        "pcb1/Data/Images/Normal/0000.JPG",
        "split_csv/1cls.csv",
    )
    (root / "split_csv" / "1cls.csv").write_text(
        "object,split,label,image,mask\n"
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
        "candle,train,normal,candle/Data/Images/Normal/0001.JPG,\n"
        "candle,train,normal,candle/Data/Images/Normal/0003.JPG,\n"
        "candle,test,normal,candle/Data/Images/Normal/0002.JPG,\n"
        "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n"
    )
    return root
