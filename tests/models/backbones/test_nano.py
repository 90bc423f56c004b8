"""The embedded backbone: small, complete, found by its name, and better than the untrained network."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from clipada import Config, train
from clipada.config import BackboneConfig, PromptConfig, RuntimeConfig
from clipada.evaluation.metrics import auroc
from clipada.models.backbones import EMBEDDED_FOLDER, FrozenClip, load_clip
from clipada.models.prompt import Prompt
from clipada.randomness import derived_generator
from clipada.runs import load_model
from nano.captions import patch_words
from nano.loop import build_learner
from nano.probes import Probe
from nano.scenes import Palette, draw_scenes
from nano.tower import PATCH

MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def nano() -> FrozenClip:
    return load_clip(BackboneConfig(name="nano"))


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED_FOLDER.iterdir()) <= MOST_BYTES


def test_float16_on_disk_is_float32_in_use(nano: FrozenClip) -> None:
    with safe_open(EMBEDDED_FOLDER / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.float16}  # noqa: SIM118
    assert {value.dtype for value in nano.parameters()} == {torch.float32}


def test_the_prompt_is_read_word_by_word(nano: FrozenClip) -> None:
    prompt = Prompt(nano, PromptConfig(), torch.Generator().manual_seed(0))
    words = f"{PromptConfig().prefix} {PromptConfig().suffix}".split()
    assert len(prompt.words) == len(words) + 2
    assert nano.tokenizer.unk_token_id not in nano.word_ids(" ".join(words))
    assert prompt(nano).isfinite().all()


@given(word=st.text(st.characters(exclude_categories=["C", "Z"], max_codepoint=0x2FF), min_size=1, max_size=12))
def test_unknown_words_fall_back_to_bytes(nano: FrozenClip, word: str) -> None:
    ids = nano.word_ids(word)
    assert nano.tokenizer.unk_token_id not in ids
    lowered = nano.tokenizer.backend_tokenizer.normalizer.normalize_str(word)
    assert nano.tokenizer.decode(ids).replace(" ", "") == lowered


def test_a_run_names_it_and_no_path(products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of that name must not take its place
    config = Config.preset("prompt").updated(
        {"backbone.name": "nano", "model.image_size": 64, "training.epochs": 1, "training.milestones": ()}
    )
    run = train(products, tmp_path / "run", config, runtime=RuntimeConfig(device="cpu", workers=0))
    assert run.config.backbone.name == "nano"
    assert run.backbone_label == f"nano (sha256 {load_clip(config.backbone).sha256()[:12]})"
    written = "".join((run.folder / name).read_text() for name in ("config.json", "README.md"))
    assert str(EMBEDDED_FOLDER) not in written
    assert str(tmp_path / "nano") not in written
    assert load_model(run).backbone.sha256() == run.backbone_sha256


def test_pretraining_earns_its_bytes() -> None:
    """Words alone find defects of kinds and on materials not trained on; with the untrained network they find none."""
    scenes = draw_scenes(24, (256, 256), Palette.new_concepts(), derived_generator(7, "new"), defective=1.0)
    labels = patch_words(scenes, PATCH).defective
    untrained = build_learner(0)
    areas = []
    for probe in (Probe.load(EMBEDDED_FOLDER), Probe(untrained.clip, untrained.tokenizer)):
        patches = probe.embed(probe.tokens(scenes.images)[-1][:, 1:])
        scores = (patches @ probe.anomaly_direction())[labels >= 0]
        areas.append(auroc(scores.numpy(), (labels[labels >= 0] == 1).numpy()))
    trained, first = areas
    assert trained > 0.64
    assert trained > first + 0.12
