"""Folding promises the model's own maps, to rounding: for every similarity, attention, space and number of passes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from clipada.backbone import load_clip
from clipada.config import Config
from clipada.engines.graph import GraphEngine, upsample
from clipada.engines.pytorch import TorchEngine
from clipada.exporting.folding import FoldedLook
from clipada.model import ClipAda, build_model
from clipada.model import upsample as torch_upsample
from tiny import make_clip

SETTINGS = list(product(("dot", "cosine"), ("product", "residual"), ("normalised", "pixel"), (0, 1, 2)))


def model_of(folder: Path, similarity: str, attention: str, space: str, refinements: int, size: int = 48) -> ClipAda:
    config = Config().updated(
        {
            "backbone.name": str(folder),
            "backbone.block": 2,
            "prompt.prefix": "a photo of a",
            "model.image_size": size,
            "model.similarity": similarity,
            "model.attention": attention,
            "model.attention_space": space,
            "model.refinements": refinements,
        }
    )
    model = build_model(config, load_clip(config.backbone)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.similarity.parameters():
            parameter.add_(torch.randn((), generator=generator) * 0.3)
    return model


def folded_engine(model: ClipAda, cold_below: float = 0.0) -> GraphEngine:
    look = FoldedLook(model)

    def run(images: np.ndarray, gain: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return look(torch.from_numpy(images), torch.from_numpy(gain)).numpy()

    config = model.config
    return GraphEngine(
        run,
        image_size=config.image_size,
        passes=config.refinements + 1,
        attention=config.attention,
        cold_below=cold_below,
    )


def photos(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(("similarity", "attention", "space", "refinements"), SETTINGS)
def test_folded_equals_unfolded(
    clip_folder: Path, similarity: str, attention: str, space: str, refinements: int
) -> None:
    model = model_of(clip_folder, similarity, attention, space, refinements)
    images = photos(2, 48)
    expected = TorchEngine(model, "cpu").localise_passes(images)
    folded = folded_engine(model).localise_passes(images)
    assert folded.shape == (refinements + 1, 2, 48, 48)
    assert np.ptp(expected) > 1e-3  # maps that say something
    np.testing.assert_allclose(folded, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [32, 45, 52])
def test_sizes_that_the_patch_does_not_divide_fold_too(clip_folder: Path, size: int) -> None:
    model = model_of(clip_folder, "cosine", "residual", "normalised", 1, size)
    images = photos(2, size)
    expected = TorchEngine(model, "cpu").localise_passes(images)
    np.testing.assert_allclose(folded_engine(model).localise_passes(images), expected, rtol=0, atol=1e-5)


def test_long_embeddings_fold_to_fewer_rows(tmp_path: Path, clip_folder: Path) -> None:
    short = model_of(clip_folder, "cosine", "product", "normalised", 1)
    assert FoldedLook(short).heads.factors.out_features == 2 * 16  # embedding 16 < width 32 + 1
    long = model_of(make_clip(tmp_path / "narrow", width=8), "cosine", "product", "normalised", 1)
    assert FoldedLook(long).heads.factors.out_features == 2 * 9  # embedding 16 > width 8 + 1
    expected = TorchEngine(long, "cpu").localise_passes(photos(2, 48))
    np.testing.assert_allclose(folded_engine(long).localise_passes(photos(2, 48)), expected, rtol=0, atol=1e-5)


def test_the_text_tower_and_the_projections_stay_behind(clip_folder: Path) -> None:
    model = model_of(clip_folder, "cosine", "residual", "normalised", 1)
    assert not any("text" in name or "projection" in name for name in FoldedLook(model).state_dict())


def test_upsampling_is_pytorch_s_own() -> None:
    maps = np.random.default_rng(0).random((2, 5, 7), np.float32)
    expected = torch_upsample(torch.from_numpy(maps), (64, 64)).numpy()
    np.testing.assert_allclose(upsample(maps, 64), expected, rtol=0, atol=1e-6)


# --- the shortcut


def test_a_blank_look_is_the_same_for_all(clip_folder: Path) -> None:
    engine = folded_engine(model_of(clip_folder, "cosine", "product", "normalised", 1))
    short = engine.with_shortcut(1.1)
    first, second = (short.localise_passes(photos(2, 48) // np.uint8(shade))[1] for shade in (1, 5))
    np.testing.assert_array_equal(first, second)


def test_what_is_cold_is_skipped_and_what_is_hot_is_not(clip_folder: Path) -> None:
    images = photos(4, 48) // np.array([1, 2, 4, 9], np.uint8)[:, None, None, None]
    engine = folded_engine(model_of(clip_folder, "cosine", "residual", "normalised", 2))
    full = engine.localise_passes(images)
    heat = full[0].max(axis=(1, 2))
    level = np.sort(heat)[2]
    short = engine.with_shortcut(level).localise_passes(images)
    np.testing.assert_array_equal(short[0], full[0])
    assert (heat < level).sum() == 2
    np.testing.assert_allclose(short[1][heat >= level], full[1][heat >= level], rtol=0, atol=1e-6)
    unseen = engine._look(images, np.ones(images.shape[:3], np.float32))[:, 1]
    np.testing.assert_array_equal(short[1][heat < level], upsample(unseen, 48)[heat < level])
