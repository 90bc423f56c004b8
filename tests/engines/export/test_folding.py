"""Folding keeps the model's own maps, to rounding: for every similarity, attention, space and number of passes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipada.config import Config
from clipada.engines.export.folding import FoldedPass
from clipada.engines.passes import PassInput, PassOutput, full_pass_input
from clipada.engines.refinement import GraphEngine, active_patches, upsample
from clipada.engines.torch import TorchEngine
from clipada.models.backbones import load_clip
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.clip_ada import upsample as torch_upsample
from clipada.models.prototypes import Prototypes
from tiny import make_clip

SETTINGS = list(product(("dot", "cosine"), ("product", "residual"), ("normalised", "pixel"), (0, 1, 2)))


def model_of(
    folder: Path, similarity: str, attention: str, space: str, refinements: int, size: int = 48, block: int = 2
) -> ClipAda:
    config = Config().updated(
        {
            "backbone.name": str(folder),
            "backbone.block": block,
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


def folded_engine(model: ClipAda, inactive_below: float = 0.0) -> GraphEngine:
    folded = FoldedPass(model)

    def run(inputs: PassInput) -> PassOutput:
        with torch.inference_mode():
            found = folded(*map(torch.from_numpy, inputs.values()))
        return PassOutput(*(part.numpy() for part in found))

    return GraphEngine(run, folded.shape, attention=model.config.attention, inactive_below=inactive_below)


def photos(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(("similarity", "attention", "space", "refinements"), SETTINGS)
def test_folded_equals_unfolded(
    clip_folder: Path, similarity: str, attention: str, space: str, refinements: int
) -> None:
    model = model_of(clip_folder, similarity, attention, space, refinements)
    images = photos(2, 48)
    expected = TorchEngine(model, "cpu").localize(images)
    folded = folded_engine(model).localize(images)
    assert folded.maps.shape == (refinements + 1, 2, 48, 48)
    assert np.ptp(expected.maps) > 1e-3  # maps that differ
    np.testing.assert_allclose(folded.maps, expected.maps, rtol=0, atol=1e-5)
    np.testing.assert_allclose(folded.descriptors, expected.descriptors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [32, 45, 52])
def test_sizes_that_the_patch_does_not_divide_fold_too(clip_folder: Path, size: int) -> None:
    model = model_of(clip_folder, "cosine", "residual", "normalised", 1, size)
    images = photos(2, size)
    expected = TorchEngine(model, "cpu").localize(images).maps
    np.testing.assert_allclose(folded_engine(model).localize(images).maps, expected, rtol=0, atol=1e-5)


def test_long_embeddings_fold_to_fewer_rows(tmp_path: Path, clip_folder: Path) -> None:
    short = model_of(clip_folder, "cosine", "product", "normalised", 1)
    assert FoldedPass(short).heads.factors.out_features == 2 * 16  # embedding 16 < width 32 + 1
    long = model_of(make_clip(tmp_path / "narrow", width=8), "cosine", "product", "normalised", 1)
    assert FoldedPass(long).heads.factors.out_features == 2 * 9  # embedding 16 > width 8 + 1
    expected = TorchEngine(long, "cpu").localize(photos(2, 48)).maps
    np.testing.assert_allclose(folded_engine(long).localize(photos(2, 48)).maps, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["product", "residual"])
@pytest.mark.parametrize("refinements", [0, 2])
def test_prototypes_fold_too(clip_folder: Path, attention: str, refinements: int) -> None:
    model = model_of(clip_folder, "cosine", attention, "normalised", refinements)
    images = photos(2, 48)
    plain = folded_engine(model).localize(images).maps
    normal = torch.from_numpy(photos(6, 48)[2:]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        tokens = model.backbone(model.backbone.normalize(normal)).flatten(0, 1)
    model = model.with_memory(Prototypes.found_among(tokens, 5, torch.Generator().manual_seed(0)))
    expected = TorchEngine(model, "cpu").localize(images).maps
    assert np.abs(expected - plain).max() > 1e-2  # prototypes with an effect
    for inactive_below in (0.0, 1e-9):
        folded = folded_engine(model, inactive_below).localize(images).maps
        np.testing.assert_allclose(folded, expected, rtol=0, atol=1e-5)


def test_the_cascade_goes_by_maps_with_the_memory_offset(clip_folder: Path) -> None:
    """Otherwise a part that only the prototypes find anomalous would never be refined."""
    model = model_of(clip_folder, "cosine", "residual", "normalised", 1)
    images = photos(4, 48)
    plain = folded_engine(model).with_shortcut(0.0, end_below=2.0).localize(images).maps
    normal = torch.from_numpy(photos(6, 48)[4:]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        tokens = model.backbone(model.backbone.normalize(normal)).flatten(0, 1)
    model = model.with_memory(Prototypes.found_among(tokens, 5, torch.Generator().manual_seed(0)))
    whole = TorchEngine(model, "cpu").localize(images).maps
    peaks = whole[0].max(axis=(1, 2))
    end_below = float(np.median(peaks))
    ended = peaks < end_below
    assert 0 < ended.sum() < len(images)
    found = folded_engine(model).with_shortcut(0.0, end_below=end_below).localize(images).maps
    np.testing.assert_allclose(found[0], whole[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[1][~ended], whole[1][~ended], rtol=0, atol=1e-5)
    assert (np.abs(found[1] - whole[1]).max(axis=(1, 2))[ended] > 1e-5).all()  # not refined
    assert (np.abs(found[1] - plain[1]).max(axis=(1, 2))[ended] > 1e-2).all()  # but offset


def test_the_graph_has_no_text_tower_and_no_projections(clip_folder: Path) -> None:
    model = model_of(clip_folder, "cosine", "residual", "normalised", 1)
    assert not any("text" in name or "projection" in name for name in FoldedPass(model).state_dict())


def test_upsampling_is_pytorch_s_own() -> None:
    maps = np.random.default_rng(0).random((2, 5, 7), np.float32)
    expected = torch_upsample(torch.from_numpy(maps), (64, 64)).numpy()
    np.testing.assert_allclose(upsample(maps, (64, 64)), expected, rtol=0, atol=1e-6)


# --- the shortcut


@pytest.mark.parametrize("attention", ["product", "residual"])
def test_where_all_patches_are_active_all_are_refined(clip_folder: Path, attention: str) -> None:
    engine = folded_engine(model_of(clip_folder, "cosine", attention, "normalised", 2))
    full = engine.localize(photos(3, 48)).maps
    np.testing.assert_allclose(engine.with_shortcut(1e-9).localize(photos(3, 48)).maps, full, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["product", "residual"])
def test_active_patches_attend_to_the_kv_cache_of_inactive_ones(clip_folder: Path, attention: str) -> None:
    """In a tower of one block this equals a full pass over an image that changed in the active patches alone."""
    engine = folded_engine(model_of(clip_folder, "cosine", attention, "normalised", 1, block=1))
    image, unchanged = photos(1, 48), np.float32(attention == "residual")
    active = np.zeros((1, 6, 6), bool)  # patches of 8 pixels
    active[:, 2:4, 1:3] = True
    factor = np.where(active.repeat(8, 1).repeat(8, 2), unchanged + np.float32(0.7), unchanged)
    before, full = (
        engine.runtime_pass(full_pass_input(image, one, engine.shape))
        for one in (np.full_like(factor, unchanged), factor)
    )
    active = active.reshape(1, -1)
    found = engine.refine(image, factor, active, before, 1)[:, 1:37]  # 6 x 6 after the class token
    np.testing.assert_allclose(found[active], full.maps[:, 1, 1:37][active], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[~active], before.maps[:, 1, 1:37][~active])
    assert np.abs(found[active] - before.maps[:, 1, 1:37][active]).max() > 1e-4


def test_a_refinement_without_active_patches_runs_no_pass(clip_folder: Path) -> None:
    for attention in ("product", "residual"):
        engine = folded_engine(model_of(clip_folder, "cosine", attention, "normalised", 2))
        short, passes = engine.with_shortcut(1.1), []
        run = short.runtime_pass
        short.runtime_pass = lambda inputs, run=run, passes=passes: passes.append(inputs) or run(inputs)
        first, second = (short.localize(photos(2, 48) // np.uint8(shade)).maps for shade in (1, 5))
        assert len(passes) == (2 if attention == "residual" else 3)  # the pass over a blank image, once
        assert attention == "residual" or np.array_equal(first[1], second[1])


@given(
    st.integers(1, 4), st.integers(2, 9), st.integers(2, 9), st.floats(0.01, 0.99), st.randoms(use_true_random=False)
)
def test_a_patch_is_active_if_any_of_its_pixels_is(rows: int, columns: int, patch: int, level: float, random) -> None:
    attention = (
        np.random.default_rng(random.getrandbits(32)).random((2, rows * patch, columns * patch), np.float32) ** 8
    )
    patches = attention.reshape(2, rows, patch, columns, patch).max(axis=(2, 4)).reshape(2, -1)
    np.testing.assert_array_equal(active_patches(attention, (rows, columns), level), patches >= level)
