"""Perturbed copies of good images in a memory: they share their source, and bring false alarms back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clipada.commands.train import train
from clipada.config import Config
from clipada.errors import ConfigError
from clipada.images import read_rgb
from clipada.inspection import Inspector
from clipada.runs import read_run
from clipada.training.copies import References
from clipada.training.perturbed import perturbed_copies
from tiny import write_products
from trainings import CPU


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_products(tmp_path_factory.mktemp("products"))


@pytest.fixture
def settings(clip_folder: Path) -> Config:
    small = {"backbone.name": str(clip_folder), "backbone.block": 2, "prompt.prefix": "a photo of a"}
    return Config.preset("quick").updated({**small, "model.image_size": 32, "memory.rows": 64})


def darker(*strengths: float, copies: int) -> dict[str, object]:
    return {"augment.darker": strengths, "augment.copies": copies}


def test_copies_are_perturbed_photos_with_their_sources(products: Path, settings: Config) -> None:
    paths = sorted((products / "plate" / "train" / "good").iterdir())
    copies = perturbed_copies("plate", paths, settings.updated(darker(20, 60, copies=8)), 1)
    assert copies.images.shape == (8, 32, 32, 3)
    assert sorted(set(copies.sources.tolist())) == list(range(6))
    light = np.array([read_rgb(path).mean() for path in paths])[copies.sources.numpy()]
    shares = copies.images.mean(axis=(1, 2, 3)) / light
    assert shares == pytest.approx([0.8, 0.4] * 4, abs=0.02)
    again = perturbed_copies("plate", paths, settings.updated(darker(20, 60, copies=8)), 2)
    np.testing.assert_array_equal(again.images, copies.images)


def test_copies_are_left_out_with_their_source() -> None:
    images = np.zeros((3, 4, 4, 3), np.uint8)
    own = References.of(images, torch.arange(3), "none", 0)
    joined = own.joined(np.ones((2, 4, 4, 3), np.uint8), torch.tensor([2, 0]))
    assert joined.sources.tolist() == [0, 1, 2, 2, 0]
    assert (len(joined.images), len(joined.searched), joined.originals) == (5, 3, 3)


def test_a_damaged_photo_has_no_copy(products: Path, settings: Config, tmp_path: Path) -> None:
    good = next((products / "plate" / "train" / "good").iterdir())
    (tmp_path / "bad.png").write_bytes(b"damaged")
    copies = perturbed_copies("plate", [tmp_path / "bad.png", good], settings.updated(darker(20, copies=4)), 1)
    assert copies.sources.tolist() == [1, 1]
    assert len(copies.images) == 2


def test_what_a_memory_has_seen_perturbed_it_finds_less_anomalous(
    products: Path, settings: Config, tmp_path: Path
) -> None:
    plain = train(products, tmp_path / "plain", settings, runtime=CPU)
    seen = train(products, tmp_path / "seen", settings.updated(darker(40, copies=6)), runtime=CPU)
    assert plain.memory_sha256 != seen.memory_sha256
    assert read_run(seen.folder).config.augment.darker == (40,)
    images = [read_rgb(path) for path in sorted((products / "plate" / "test" / "good").iterdir())]
    dark = [np.rint(0.6 * image).astype(np.uint8) for image in images]
    scores = {
        run.folder.name: [Inspector.load(run, device="cpu").inspect(image).anomaly_map.mean() for image in dark]
        for run in (plain, seen)
    }
    assert np.mean(scores["seen"]) < np.mean(scores["plain"])


def test_settings_without_a_sense_are_refused(settings: Config) -> None:
    with pytest.raises(ConfigError, match=r"augment\.copies"):
        settings.updated({"augment.copies": 4})
    with pytest.raises(ConfigError, match=r"augment\.copies"):
        Config.preset("prompt").updated(darker(20, copies=4))
