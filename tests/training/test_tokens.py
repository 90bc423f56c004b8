"""The cache of tokens: the same values with it and without, bounded, and never trusted when damaged."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone_families import make_backbone
from clipada.config import BackboneConfig
from clipada.models.backbones import Backbone, load_backbone
from clipada.training.tokens import TokenReader, shrink


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")
    return load_backbone(BackboneConfig(name=str(folder), blocks=(1, 2)))


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 40, 3), dtype=np.uint8)


def test_cached_tokens_are_those_that_were_computed(backbone: Backbone, tmp_path: Path) -> None:
    plain, cached = TokenReader(backbone, 0, tmp_path), TokenReader(backbone, 1, tmp_path)
    expected = plain.read(images())
    assert not list(tmp_path.rglob("*"))
    for _ in range(2):
        found = cached.read(images())
        torch.testing.assert_close(found.patches, expected.patches, rtol=0, atol=0)
        torch.testing.assert_close(found.descriptors, expected.descriptors, rtol=0, atol=0)
    assert cached.computed == 3
    assert expected.patches.shape == (3, 20, 64)
    assert expected.patches.dtype == torch.float16


def test_sizes_pixels_and_backbones_have_entries_of_their_own(backbone: Backbone, tmp_path: Path) -> None:
    reader = TokenReader(backbone, 1, tmp_path)
    reader.read(images(1))
    assert reader.read(images(1), 0.5).patches.shape == (1, 4, 64)
    changed = images(1)
    changed[0, 0, 0, 0] ^= 1
    reader.read(changed)
    other = TokenReader(load_backbone(BackboneConfig(name=backbone.vision.name_or_path, blocks=(1,))), 1, tmp_path)
    assert other.read(images(1)).patches.shape == (1, 20, 32)
    assert len(list(tmp_path.rglob("*.npy"))) == 4


def test_a_damaged_entry_is_computed_again(backbone: Backbone, tmp_path: Path) -> None:
    reader = TokenReader(backbone, 1, tmp_path)
    expected = reader.read(images(1)).patches
    (entry,) = tmp_path.rglob("*.npy")
    entry.write_bytes(entry.read_bytes()[:60])
    torch.testing.assert_close(reader.read(images(1)).patches, expected)
    assert reader.computed == 2


def test_the_entries_used_least_recently_are_removed(tmp_path: Path) -> None:
    for age, name in enumerate(("old", "older", "oldest")):
        path = tmp_path / "ab" / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    shrink(tmp_path, 250)
    assert sorted(path.stem for path in tmp_path.rglob("*.npy")) == ["old", "older"]
    shrink(tmp_path, 0)
    assert not list(tmp_path.rglob("*.npy"))


def test_a_read_only_cache_costs_nothing_else(backbone: Backbone, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert TokenReader(backbone, 1, file / "cache").read(images(1)).patches.shape == (1, 20, 64)
