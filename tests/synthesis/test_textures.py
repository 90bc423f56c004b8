"""Texture sources: range, variety, and folders as users have them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipada.config import SynthesisConfig
from clipada.errors import DatasetError
from clipada.images import write_png
from clipada.synthesis import FolderTextures, ProceduralTextures, texture_source, textures
from clipada.synthesis.palettes import draw_palettes
from clipada.synthesis.patterns import FAMILIES


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_color(path: Path, color: tuple[int, int, int]) -> None:
    write_png(path, np.full((20, 30, 3), color, np.uint8))


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), count=st.integers(0, 9), seed=st.integers(0, 10**6))
@example(height=1, width=1, count=5, seed=0)
def test_procedural_textures_are_images_at_any_size(height, width, count, seed):
    drawn = ProceduralTextures().draw(count, (height, width), seeded(seed))
    assert drawn.shape == (count, 3, height, width)
    assert drawn.dtype == torch.float32
    assert drawn.isfinite().all()
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_fills_its_range_with_patterns_that_differ(family):
    patterns = FAMILIES[family](24, (64, 48), seeded())
    assert patterns.shape == (24, 64, 48)
    assert patterns.min() >= 0
    assert patterns.max() <= 1
    # Most show a pattern to the eye: a deviation over a twentieth of the range.
    assert (patterns.flatten(1).std(dim=1) > 0.05).float().mean() > 0.8
    differences = (patterns[:, None] - patterns[None]).abs().mean((2, 3))
    assert differences[~torch.eye(24, dtype=torch.bool)].median() > 0.15


def test_every_family_is_drawn_equally_often(monkeypatch):
    marked = {name: lambda count, size, _, n=n: torch.full((count, *size), n / 10.0) for n, name in enumerate(FAMILIES)}
    monkeypatch.setattr(textures, "FAMILIES", marked)
    monkeypatch.setattr(textures, "color", lambda patterns, _: patterns[:, None].expand(-1, 3, -1, -1))
    number = (ProceduralTextures().draw(7000, (1, 1), seeded())[:, 0, 0, 0] * 10).round().long()
    share = number.bincount(minlength=len(FAMILIES)) / 7000
    assert (share - 1 / len(FAMILIES)).abs().max() < 0.025


def test_textures_are_of_many_colors_and_contrasts():
    drawn = ProceduralTextures().draw(120, (48, 48), seeded())
    means = drawn.mean((2, 3))
    assert (means[:, None] - means[None]).abs().mean() > 0.15
    assert means.mean(dim=1).quantile(0.1) < 0.35
    assert means.mean(dim=1).quantile(0.9) > 0.6
    saturation = (drawn.amax(1) - drawn.amin(1)).mean((1, 2))
    assert (saturation < 0.15).float().mean() > 0.2  # natural ones, as the surfaces of most products
    assert (saturation > 0.35).float().mean() > 0.2
    pairwise = (drawn[:60, None] - drawn[None, 60:]).abs().mean((2, 3, 4))
    assert pairwise.min() > 0.01
    assert pairwise.mean() > 0.2


def test_palettes_are_colors_and_two_to_four_of_them_when_hard():
    palettes = draw_palettes(400, seeded())
    assert ((palettes >= 0) & (palettes <= 1)).all()
    colors = torch.tensor([len((palette.T * 255).round().unique(dim=0)) for palette in palettes])
    assert set(colors[colors < 8].tolist()) == {2, 3, 4}
    assert 0.15 < (colors < 8).float().mean() < 0.45


def test_same_seed_same_textures():
    first, again, other = (ProceduralTextures().draw(12, (40, 40), seeded(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_folder_textures_reach_every_image_at_any_depth(tmp_path):
    colors = {"banded/a.png": (255, 0, 0), "dotted/deep/b.png": (0, 255, 0), "c.PNG": (0, 0, 255)}
    for name, value in colors.items():
        write_color(tmp_path / name, value)
    (tmp_path / "readme.txt").write_text("no image")
    drawn = FolderTextures(tmp_path).draw(60, (16, 24), seeded())
    assert drawn.shape == (60, 3, 16, 24)
    found = {tuple((texture[:, 3, 3] * 255).round().int().tolist()) for texture in drawn}
    assert found == set(colors.values())


def test_an_unreadable_texture_gives_way_to_the_next_and_is_recorded(tmp_path):
    write_color(tmp_path / "a.png", (255, 0, 0))
    (tmp_path / "b.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "c.jpg").write_bytes(b"")
    write_color(tmp_path / "d.png", (0, 0, 255))
    source = FolderTextures(tmp_path)
    drawn = source.draw(50, (8, 8), seeded())
    assert set(source.failures) == {tmp_path / "b.png", tmp_path / "c.jpg"}
    assert drawn[:, 1].max() == 0
    # What a worker already knows of broken files must not change what it draws.
    assert torch.equal(source.draw(50, (8, 8), seeded()), drawn)


def test_a_broken_last_file_gives_way_to_the_first(tmp_path):
    write_color(tmp_path / "a.png", (255, 0, 0))
    (tmp_path / "b.png").write_bytes(b"broken")
    assert (FolderTextures(tmp_path).draw(10, (4, 4), seeded())[:, 0] == 1).all()


def test_a_folder_of_broken_files_only_is_refused_when_drawn_from(tmp_path):
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="none of which can be read"):
        FolderTextures(tmp_path).draw(1, (8, 8), seeded())


@pytest.mark.parametrize(("make", "got"), [("mkdir", "no images in it"), ("touch", "a file"), (None, "nothing there")])
def test_a_folder_without_images_is_refused_with_what_to_do(tmp_path, make, got):
    folder = tmp_path / "textures"
    if make:
        getattr(folder, make)()
    with pytest.raises(DatasetError) as caught:
        texture_source(SynthesisConfig(textures=str(folder)))
    assert caught.value.got == got
    assert caught.value.expected
    assert caught.value.remedy


def test_sources_survive_the_way_into_a_worker(tmp_path):
    write_color(tmp_path / "a.png", (10, 200, 30))
    for source in (texture_source(SynthesisConfig()), texture_source(SynthesisConfig(textures=str(tmp_path)))):
        sent = pickle.loads(pickle.dumps(source))
        assert torch.equal(sent.draw(3, (12, 12), seeded()), source.draw(3, (12, 12), seeded()))
