"""WinCLIP's properties: the texts are CLIP's own, a window sees nothing else, windows meet in harmonic means."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import hmean
from transformers import CLIPModel

from clipada.config import BackboneConfig, ZeroShotConfig
from clipada.data import load_dataset
from clipada.errors import BackboneError, ConfigError
from clipada.research.baselines import FitContext, fit_zero_shot
from clipada.research.baselines.zero_shot import (
    ANOMALOUS_STATES,
    NORMAL_STATES,
    TEMPLATES,
    ZeroShot,
    embed_prompt,
    harmonic_map,
    windows,
)
from tiny import make_clip

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@cache
def reference(folder: Path) -> CLIPModel:
    return CLIPModel.from_pretrained(folder).eval()


@pytest.fixture
def detector(context: FitContext) -> ZeroShot:
    detector = fit_zero_shot(context, ZeroShotConfig()).detector
    assert isinstance(detector, ZeroShot)
    return detector


@pytest.fixture
def well_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CLIP whose tokenizer knows every word of the prompts."""
    prompts = " ".join((*NORMAL_STATES, *ANOMALOUS_STATES, *TEMPLATES)).replace("{}", "object")
    monkeypatch.setattr("tiny.WORDS", sorted(set(re.findall(r"\w+|[^\w\s]+", prompts))))
    return make_clip(tmp_path / "well-read")


def test_the_ensemble_is_the_papers() -> None:
    assert (len(NORMAL_STATES), len(ANOMALOUS_STATES), len(set(TEMPLATES))) == (7, 4, 22)


def test_prototypes_are_the_means_of_transformers_own_text_features(well_read: Path, context: FitContext) -> None:
    context = replace(context, backbone=BackboneConfig(name=str(well_read)))
    detector = fit_zero_shot(context, ZeroShotConfig()).detector
    for prototype, states in zip(detector.prototypes[0], (NORMAL_STATES, ANOMALOUS_STATES), strict=True):
        prompts = [template.format(state.format("object")) for state in states for template in TEMPLATES]
        ids = detector.clip.tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            features = F.normalize(reference(well_read).get_text_features(ids).pooler_output, dim=-1)
        torch.testing.assert_close(prototype, F.normalize(features.mean(dim=0), dim=-1), rtol=0, atol=1e-5)


def test_the_image_score_is_transformers_own_image_feature_against_the_texts(
    clip_folder: Path, detector: ZeroShot
) -> None:
    clip = detector.clip
    with torch.inference_mode():
        pooled = reference(clip_folder).get_image_features(clip.normalize(IMAGES)).pooler_output
        cosines = F.normalize(pooled, dim=-1) @ detector.prototypes[0].T
        torch.testing.assert_close(detector(IMAGES).scores, (cosines / 0.07).softmax(dim=-1)[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [2, 3])
def test_a_windows_embedding_is_the_towers_with_all_other_patches_masked(
    clip_folder: Path, detector: ZeroShot, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers' own tower over all tokens, with an attention mask that leaves only the window's."""
    monkeypatch.setattr("clipada.research.baselines.zero_shot.WINDOWS_AT_ONCE", 5)
    members = windows(4, 4, side)
    tower = reference(clip_folder).vision_model
    with torch.inference_mode():
        tokens = detector.embed(IMAGES)
        ours = detector.encode_windows(tokens, members)
        for window, embedding in zip(members, ours.unbind(dim=1), strict=True):
            mask = torch.full((17, 17), float("-inf"))
            mask[:, [0, *(window + 1).tolist()]] = 0
            whole = tower.pre_layrnorm(tower.embeddings(detector.clip.normalize(IMAGES)))
            hidden = tower.encoder(inputs_embeds=whole, attention_mask=mask[None, None]).last_hidden_state[:, 0]
            pooled = reference(clip_folder).visual_projection(tower.post_layernorm(hidden))
            torch.testing.assert_close(embedding, F.normalize(pooled, dim=-1), rtol=0, atol=1e-5)


def test_pixels_outside_a_window_change_nothing_in_it(detector: ZeroShot) -> None:
    changed = IMAGES.clone()
    changed[:, :, :, 16:] = 0.3  # the right half: patches 2 and 3 of each row
    with torch.inference_mode():
        before, after = (detector.encode_windows(detector.embed(i), windows(4, 4, 2)) for i in (IMAGES, changed))
    untouched = (windows(4, 4, 2) % 4 < 2).all(dim=1)
    torch.testing.assert_close(before[:, untouched], after[:, untouched], rtol=0, atol=1e-6)
    assert ((before - after)[:, ~untouched].norm(dim=-1) > 1e-3).all()


def test_a_patch_has_the_harmonic_mean_of_the_windows_that_contain_it() -> None:
    members = windows(3, 3, 2)
    assert members.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    scores = torch.tensor([[0.9, 0.5, 0.2, 0.1]])
    found = harmonic_map(scores, members, 9)[0]
    for patch in range(9):
        inside = [float(s) for s, window in zip(scores[0], members, strict=True) if patch in window]
        assert float(found[patch]) == pytest.approx(hmean(inside), rel=1e-5)


def test_maps_are_the_harmonic_mean_of_the_scales(detector: ZeroShot) -> None:
    with torch.inference_mode():
        tokens, members = detector.embed(IMAGES), windows(4, 4, 4)
        scores = detector(IMAGES).scores
        detector.config = ZeroShotConfig(windows=(4,))  # one window that is the image
        torch.testing.assert_close(detector.anomaly(detector.encode_windows(tokens, members))[:, 0], scores)
        maps = detector(IMAGES).maps
    torch.testing.assert_close(maps, scores.view(2, 1, 1).expand_as(maps))


def test_no_category_is_named_by_default(context: FitContext, products: Path) -> None:
    dataset = load_dataset((products / "plate").rename(products / "metal_nut").parent)
    context = replace(context, dataset=dataset)
    named = fit_zero_shot(context, ZeroShotConfig(name_categories=True)).detector
    silent = fit_zero_shot(context, ZeroShotConfig()).detector
    alone = fit_zero_shot(context, ZeroShotConfig(word="metal nut")).detector
    assert named.prototypes.shape == (2, 2, 16)
    torch.testing.assert_close(named.prototypes[dataset.categories.index("metal_nut")], alone.prototypes[0])
    assert not torch.allclose(silent.prototypes[0], alone.prototypes[0])


def test_a_window_larger_than_the_image_is_refused(context: FitContext) -> None:
    with pytest.raises(ConfigError, match="up to 4"):
        fit_zero_shot(context, ZeroShotConfig(windows=(5,)))


def test_a_prompt_beyond_the_context_is_refused(detector: ZeroShot) -> None:
    with pytest.raises(ConfigError, match="77 tokens at most"):
        embed_prompt(detector.clip, "metal nut " * 40)


def test_a_checkpoint_that_cannot_be_read_is_refused(tmp_path: Path, context: FitContext) -> None:
    weights = make_clip(tmp_path / "clip") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneError, match="vision tower"):
        fit_zero_shot(replace(context, backbone=BackboneConfig(name=str(tmp_path / "clip"))), ZeroShotConfig())
