"""The script of the README's pictures, on a demo of seconds."""

from pathlib import Path

import PIL.Image
import pytest

import clipada
from browser import CHROMIUM
from clipada.config import Config, DemoConfig, RuntimeConfig

pytest.importorskip("playwright.sync_api", reason="no browser driver: pip install playwright")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.slow,
]


def test_every_picture_is_there_for_light_and_for_dark_pages(clip_folder: Path, tmp_path: Path) -> None:
    from readme_pictures import write_pictures

    settings = {"backbone.name": str(clip_folder), "backbone.block": 2, "prompt.prefix": "a photo of a"}
    small = {"model.image_size": 64, "training.epochs": 1, "training.milestones": ()}
    config = Config.preset("demo").updated({**settings, **small})
    parts = DemoConfig(train=2, good=1, defective=1, held_out=2, false_alarm_rate=0.8)
    clipada.demo(tmp_path / "demo", config, parts=parts, runtime=RuntimeConfig(device="cpu", workers=0))
    written = write_pictures(tmp_path / "demo", tmp_path / "pictures")
    assert [path.stem for path in written] == [
        f"{name}-{scheme}" for name in ("overview", "report", "page") for scheme in ("light", "dark")
    ]
    light, dark = (brightness(tmp_path / "pictures" / f"page-{scheme}.webp") for scheme in ("light", "dark"))
    assert light > dark + 50


def brightness(path: Path) -> float:
    """Mean of the gray values, 0..255."""
    with PIL.Image.open(path) as picture:
        histogram = picture.convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)
