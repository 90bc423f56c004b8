"""The frozen CLIP and its prompt against `transformers`' own."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer

from clipada.config import BackboneConfig, Config, PromptConfig
from clipada.models.backbones import EMBEDDED_FOLDER, FrozenClip, load_clip
from clipada.models.clip_ada import build_model
from clipada.models.prompt import Prompt


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (40, 56)])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_patch_tokens_are_transformers_own_hidden_states(clip_folder: Path, size: tuple[int, int], block: int) -> None:
    inputs = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    reference = CLIPModel.from_pretrained(clip_folder).eval().vision_model
    with torch.no_grad():
        expected = reference(inputs, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[block]
        tokens = load_clip(BackboneConfig(name=str(clip_folder), blocks=(block,)))(inputs)
    torch.testing.assert_close(tokens, expected[:, 1:], rtol=0, atol=1e-6)


def test_text_embedding_is_transformers_own_and_padding_does_not_change_it(clip_folder: Path, clip: FrozenClip) -> None:
    ids = clip.tokenizer("a photo of metal nut", padding="max_length", max_length=77)["input_ids"]
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip_folder).eval().get_text_features(torch.tensor([ids])).pooler_output[0]
        ours = clip.encode_text(clip.embed_ids(ids[: ids.index(1) + 1]))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def nano() -> FrozenClip:
    return load_clip(BackboneConfig(name="nano"))


def test_plain_transformers_reads_it_alike(nano: FrozenClip) -> None:
    clip = CLIPModel.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32).eval()
    inputs = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    ids = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER)("a photo of a scratch", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = clip.vision_model(inputs, output_hidden_states=True).hidden_states
        text = clip.get_text_features(ids).pooler_output[0]
        torch.testing.assert_close(nano(inputs), hidden[nano.blocks[-1]][:, 1:], rtol=0, atol=1e-4)
        torch.testing.assert_close(nano.encode_text(nano.embed_ids(ids[0].tolist())), text, rtol=0, atol=1e-4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_prompt_of_ordinary_words_is_transformers_own_embedding(clip_folder: Path, clip: FrozenClip) -> None:
    prompt = Prompt(clip, PromptConfig(prefix="a photo of a"), generator())
    words = "metal nut screw bolt"
    with torch.no_grad():
        prompt.vectors.copy_(clip.embed_ids(clip.word_ids(words)))
        sentence = f"a photo of a {words} with defects for anomaly detection"
        ids = clip.tokenizer(sentence, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
        expected = CLIPModel.from_pretrained(clip_folder).eval().get_text_features(ids).pooler_output[0]
        torch.testing.assert_close(prompt(clip), expected, rtol=0, atol=1e-6)


def test_prompt_on_the_real_tokenizer(shared: Path) -> None:
    folder = shared / "weights" / "deit-tiny-clip"
    config = Config().updated({"backbone.name": str(folder), "prompt.learnable": False, "prompt.word": "object"})
    model = build_model(config)
    ids = model.backbone.tokenizer(
        "A photo of a object with defects for anomaly detection", padding="max_length", max_length=77, truncation=True
    )["input_ids"]
    with torch.no_grad():
        reference = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        expected = reference.get_text_features(torch.tensor([ids])).pooler_output[0]
        torch.testing.assert_close(model.prompt(model.backbone), expected, rtol=0, atol=1e-5)
