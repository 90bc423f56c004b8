"""Known defects: what a training learns from their photos, and that nothing is lost where it learns nothing."""

from pathlib import Path

import numpy as np
import pytest

from backbone_families import make_backbone
from clipada.commands.evaluate import evaluate
from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.data import read_batches
from clipada.runs import Run
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0, cache_gigabytes=0)


def part(rng: np.random.Generator) -> np.ndarray:
    """A part whose surface differs from place to place, so that faint marks are nothing unusual."""
    rough = 22 * rng.normal(size=(64, 64, 1)) * (rng.random((64, 64, 1)) < 0.4)
    return np.clip(110 + rough + rng.normal(0, 3, (64, 64, 3)), 0, 255).astype(np.uint8)


def marked(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    image, mask = part(rng), np.zeros((64, 64), np.uint8)
    top, left = rng.integers(8, 40, 2)
    mask[top : top + 16, left : left + 16] = 255
    color = (110, 92, 110) if kind == "stain" else (128, 110, 110)
    image[mask > 0] = np.clip(color + rng.normal(0, 3, (256, 3)), 0, 255).astype(np.uint8)
    return image, mask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for index in range(12):
        save(root / "nut" / "train" / "good" / f"{index}.png", part(rng))
        save(root / "nut" / "test" / "good" / f"{index}.png", part(rng))
        for kind in ("stain", "smear"):
            image, mask = marked(rng, kind)
            save(root / "nut" / "test" / kind / f"{index}.png", image)
            save(root / "nut" / "ground_truth" / kind / f"{index}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The first five stains, with their masks."""
    root = tmp_path_factory.mktemp("defects")
    for index in range(5):
        copy(data / "nut" / "test" / "stain" / f"{index}.png", root / "stain")
        copy(data / "nut" / "ground_truth" / "stain" / f"{index}_mask.png", root / "masks" / "stain")
    return root


def copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")
    return Config.preset("quick").updated(
        {"backbone.name": str(folder), "backbone.blocks": (1, 2), "model.image_size": 64, "memory.rows": 96}
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, data: Path, settings: Config) -> Run:
    return train(data, tmp_path_factory.mktemp("plain") / "run", settings, runtime=RUNTIME)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path, defects: Path, settings: Config) -> Run:
    return train(data, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME, defects=defects)


def images(data: Path, kind: str) -> np.ndarray:
    paths = sorted((data / "nut" / "test" / kind).iterdir())
    return next(iter(read_batches(paths, (64, 64), 16, 1))).images


def test_known_kinds_stand_out_more(run: Run, plain: Run, data: Path) -> None:
    learned = run.training.defects["nut"]
    assert (learned.photos, learned.used, learned.kinds) == (5, 5, {"stain": 5})
    assert learned.weight > 0
    without, found = (evaluate(one.folder, data, engine="torch", device="cpu") for one in (plain, run))
    assert found.categories["nut"].pixel_ap > without.categories["nut"].pixel_ap + 0.05
