"""The model: parameter counts, the prompt's place, equations 1 to 5, and where gradients may and may not go."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, CLIPConfig, CLIPTextModelWithProjection, CLIPVisionModel

from clipada.config import BackboneConfig, Config, ModelConfig, PromptConfig
from clipada.errors import ConfigError
from clipada.models.backbones import FrozenClip
from clipada.models.clip_ada import ClipAda, build_model, upsample
from clipada.models.prompt import Prompt


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def build(clip: FrozenClip, **settings: object) -> ClipAda:
    config = Config(
        prompt=PromptConfig(prefix="a photo of a"),
        model=ModelConfig(image_size=32, **settings),  # type: ignore[arg-type]
    )
    return build_model(config, clip)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def vit_b16(clip_folder: Path) -> FrozenClip:
    """ViT-B/16's widths with one block, random weights."""
    vision = {"hidden_size": 768, "num_hidden_layers": 1, "patch_size": 16, "projection_dim": 512}
    text = {"hidden_size": 512, "num_hidden_layers": 1, "projection_dim": 512, "vocab_size": 20}
    config = CLIPConfig(projection_dim=512, vision_config=vision, text_config=text)
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    return FrozenClip(
        CLIPVisionModel(config.vision_config),
        BackboneConfig(blocks=(1,)),
        ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        CLIPTextModelWithProjection(config.text_config),
        tokenizer,
    )


@pytest.mark.parametrize(("refinements", "expected"), [(0, 395_776), (1, 789_504), (2, 1_183_232)])
def test_trained_parameters_are_the_papers(vit_b16: FrozenClip, refinements: int, expected: int) -> None:
    model = build(vit_b16, refinements=refinements)
    assert sum(parameter.numel() for parameter in model.trained_parameters().values()) == expected


def test_fixed_prompt_trains_nothing_of_the_text(clip: FrozenClip) -> None:
    prompt = Prompt(clip, PromptConfig(prefix="a photo of a", learnable=False), generator())
    assert list(prompt.parameters()) == []


def test_prompt_longer_than_the_context_is_refused(clip: FrozenClip) -> None:
    with pytest.raises(ConfigError, match="77 tokens at most"):
        Prompt(clip, PromptConfig(length=80), generator())


@pytest.mark.parametrize("attention", ["product", "residual"])
@pytest.mark.parametrize("space", ["normalised", "pixel"])
def test_passes_follow_the_equations(clip: FrozenClip, images: torch.Tensor, attention: str, space: str) -> None:
    model = build(clip, refinements=2, attention=attention, attention_space=space)
    text = model.prompt(clip)
    text = text / text.norm()
    mean, std = clip.mean, clip.std
    inputs, expected = (images - mean) / std, []
    for projection in model.projections:
        tokens = clip(inputs)
        logits = (tokens @ projection.weight.T + projection.bias) @ text
        expected.append(logits.reshape(2, 4, 4))
        heat = F.interpolate(torch.sigmoid(expected[-1])[:, None], size=(32, 32), mode="bilinear")
        gain = heat if attention == "product" else 1 + heat
        inputs = (images * gain - mean) / std if space == "pixel" else (images - mean) / std * gain
    for ours, reference in zip(model(images), expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-5)


def test_cosine_similarity_is_bounded_by_its_scale(clip: FrozenClip, images: torch.Tensor) -> None:
    model = build(clip, similarity="cosine")
    text, tokens = model.text_vector(), clip(clip.normalize(images))
    expected = F.cosine_similarity(model.projections[0](tokens), text, dim=-1) / 0.07
    torch.testing.assert_close(model(images)[0].flatten(1), expected, rtol=1e-4, atol=1e-4)
    assert {"similarity.log_scale", "similarity.bias"} <= set(model.trained_parameters())


def test_dot_product_does_not_depend_on_the_texts_length(clip: FrozenClip) -> None:
    model = build(clip)
    assert model.text_vector().norm().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_attention_carries_gradient_to_prompt_and_first_projection(
    clip: FrozenClip, images: torch.Tensor, detach: bool
) -> None:
    """The refined pass reads a constant text here, so only its attention can lead back to the prompt and ``W_0``."""
    model = build(clip, refinements=1, detach_attention=detach)
    coarse = model(images)[0]
    tokens = clip(model.attend(images, coarse.sigmoid()))
    refined = model.similarity(model.projections[1](tokens), model.text_vector().detach())
    refined.square().sum().backward()
    for reached in (model.prompt.vectors.grad, model.projections[0].weight.grad):
        assert (reached is not None and bool(reached.abs().sum() > 0)) is not detach


def test_refinement_gradient_is_the_attentions(clip: FrozenClip, images: torch.Tensor) -> None:
    """With the text constant, what reaches ``W_0`` from pass 1 came through the attention: check by differences."""
    model = build(clip, refinements=1).double()
    pixels, text = images.double(), model.text_vector().detach()
    weight = model.projections[0].weight

    def loss() -> torch.Tensor:
        return model(pixels, text)[1].sum()

    loss().backward()
    gradient = weight.grad
    assert gradient is not None
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=generator())
    step = 1e-5
    with torch.no_grad():
        weight += step * direction
        above = loss()
        weight -= 2 * step * direction
        below = loss()
    assert ((above - below) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_clip_gets_no_gradient(clip: FrozenClip, images: torch.Tensor) -> None:
    model = build(clip)
    sum(logits.sum() for logits in model(images)).backward()
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_seed_decides_the_first_values(config: Config) -> None:
    def values(seed: int) -> torch.Tensor:
        model = build_model(replace(config, training=replace(config.training, seed=seed)))
        return torch.cat([parameter.flatten() for parameter in model.trained_parameters().values()])

    torch.manual_seed(99)
    first = values(7)
    torch.manual_seed(100)
    assert torch.equal(first, values(7))
    assert not torch.equal(first, values(8))


def test_upsampling_keeps_constants_and_centres() -> None:
    torch.testing.assert_close(upsample(torch.full((1, 4, 4), 0.3), (31, 17)), torch.full((1, 31, 17), 0.3))
    spot = torch.zeros(1, 5, 5)
    spot[0, 1, 3] = 1
    big = upsample(spot, (50, 50))[0]
    rows, columns = torch.meshgrid(torch.arange(50.0), torch.arange(50.0), indexing="ij")
    assert ((rows * big).sum() / big.sum()).item() == pytest.approx(14.5, abs=1e-3)
    assert ((columns * big).sum() / big.sum()).item() == pytest.approx(34.5, abs=1e-3)
