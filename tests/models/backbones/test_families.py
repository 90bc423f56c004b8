"""Every family of backbones: tokens are those of `transformers`, and the folded graph computes the same maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from backbone_families import FAMILIES, make_backbone
from clipada.config import BackboneConfig, Config
from clipada.engines.export.folding import FoldedPass
from clipada.engines.passes import PassInput, PassOutput
from clipada.engines.refinement import GraphEngine
from clipada.engines.torch import TorchEngine
from clipada.errors import BackboneError, ConfigError
from clipada.models.backbones import FrozenClip, TextBackbone, load_backbone, load_clip, with_defaults
from clipada.models.backbones.defaults import default_blocks, default_image_size
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.prompt import DirectionVector, Prompt

NAMES = ["clip", *FAMILIES]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """Write each family's checkpoint once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = make_backbone(tmp_path_factory.mktemp(name), name)
        return made[name]

    return of


def witness(folder: Path, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hidden states of `transformers`' whole model, the embeddings first."""
    whole: Any = AutoModel.from_pretrained(folder).eval()
    tower = getattr(whole, "vision_model", whole)
    kind = AutoConfig.from_pretrained(folder).model_type
    options: dict[str, Any] = {"output_hidden_states": True}
    if kind == "siglip2":
        side = tower.config.patch_size
        rows, columns = (length // side for length in inputs.shape[-2:])
        patches = inputs.unfold(2, side, side).unfold(3, side, side)  # (B, 3, rows, columns, p, p)
        flat = patches.permute(0, 2, 3, 4, 5, 1).reshape(len(inputs), rows * columns, -1)
        shapes = torch.tensor([[rows, columns]] * len(inputs))
        mask = torch.ones(flat.shape[:2], dtype=torch.long)
        return tower(flat, pixel_attention_mask=mask, spatial_shapes=shapes, **options).hidden_states
    if kind in ("clip", "siglip", "vit", "deit", "ijepa"):
        options["interpolate_pos_encoding"] = True
    return tower(inputs, **options).hidden_states


@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_transformers(checkpoint, name: str, size: tuple[int, int]) -> None:
    folder = checkpoint(name)
    inputs = torch.randn((2, 3, *size), generator=torch.Generator().manual_seed(3))
    backbone = load_backbone(BackboneConfig(name=str(folder), blocks=(1, 3)))
    with torch.inference_mode():
        hidden = witness(folder, inputs)
        tokens = backbone(inputs)
    expected = torch.cat([hidden[block][:, backbone.prefix :] for block in (1, 3)], dim=-1)
    assert tokens.shape == (2, size[0] * size[1] // 64, 64)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["norm", "unit"])
@pytest.mark.parametrize("name", ["clip", "dinov3", "siglip"])
def test_the_form_of_tokens(checkpoint, name: str, form: str) -> None:
    raw = load_backbone(BackboneConfig(name=str(checkpoint(name)), blocks=(2,)))
    other = load_backbone(BackboneConfig(name=str(checkpoint(name)), blocks=(2,), tokens=form))
    inputs = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        tokens, changed = raw(inputs), other(inputs)
        expected = raw.last_norm(tokens) if form == "norm" else tokens / tokens.norm(dim=-1, keepdim=True) * 32**0.5
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)
    assert raw.sha256() == other.sha256()  # the same weights


def model_of(folder: Path, **settings: object) -> ClipAda:
    names = {"backbone.name": str(folder), "backbone.blocks": (1, 2), "prompt.prefix": "a photo of a"}
    return build_model(Config().updated({**names, "model.image_size": (40, 56), **settings})).eval()


@pytest.mark.parametrize("form", ["raw", "norm", "unit"])
@pytest.mark.parametrize("name", NAMES)
def test_the_folded_graph_computes_the_same(checkpoint, name: str, form: str) -> None:
    """All parts at once: several blocks, a size that is not square, refinements, registers, rotary positions, gates."""
    model = model_of(checkpoint(name), **{"backbone.tokens": form, "model.similarity": "cosine"})
    folded = FoldedPass(model)

    def run(inputs: PassInput) -> PassOutput:
        with torch.inference_mode():
            return PassOutput(*(part.numpy() for part in folded(*map(torch.from_numpy, inputs.values()))))

    images = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    expected = TorchEngine(model, "cpu").localize(images)
    found = GraphEngine(run, folded.shape, attention=model.config.attention).localize(images)
    assert found.maps.shape == (2, 2, 40, 56)
    assert np.ptp(expected.maps) > 1e-4
    np.testing.assert_allclose(found.maps, expected.maps, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(expected.descriptors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["siglip", "siglip2"])
def test_the_prompt_is_embedded_as_siglip_s_own_text(checkpoint, name: str) -> None:
    """The padded context counts: SigLIP's text tower is not causal."""
    folder = checkpoint(name)
    words = {"prompt.learnable": False, "prompt.word": "object", "prompt.suffix": "with defects"}
    model = model_of(folder, **words)
    backbone = model.backbone
    assert isinstance(backbone, TextBackbone)
    prefix, suffix = backbone.prompt_ids("a photo of a", "with defects")
    ids = [*prefix, *backbone.word_ids("object"), *suffix]
    assert ids[-1] == 1  # the end of the text
    whole: Any = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        padded = torch.tensor([ids + [1] * (32 - len(ids))])
        expected = whole.text_model(padded).pooler_output[0]
        torch.testing.assert_close(model.prompt(backbone), expected, rtol=0, atol=1e-5)


def test_a_backbone_without_words_learns_a_direction(checkpoint) -> None:
    vector = model_of(checkpoint("dinov2"))
    assert isinstance(vector.prompt, DirectionVector)
    assert "prompt.vector" in vector.adapter_parameters()
    fixed = model_of(checkpoint("dinov2"), **{"prompt.learnable": False})
    assert "prompt.vector" not in fixed.adapter_parameters()
    assert fixed.text_vector().unique().numel() == 1  # the same in all channels, so that no file need hold it
    assert isinstance(model_of(checkpoint("clip")).prompt, Prompt)
    assert isinstance(model_of(checkpoint("clip"), **{"prompt.direction": "vector"}).prompt, DirectionVector)
    with pytest.raises(ConfigError, match=r"prompt.direction is 'text'\n.*text tower\n.*dinov2"):
        model_of(checkpoint("dinov2"), **{"prompt.direction": "text"})


def test_tuning_needs_the_tower_it_tunes(checkpoint) -> None:
    model = model_of(checkpoint("dinov2"), **{"training.tune": "image"})
    names = set(model.encoder_parameters())
    assert "clip.vision.encoder.layer.0.norm1.weight" in names
    assert not any("layernorm" in name for name in names)  # the last norm changes no map
    with pytest.raises(ConfigError, match="a backbone without a text tower"):
        model_of(checkpoint("dinov2"), **{"training.tune": "both"})


def test_defaults_follow_from_family_and_depth(checkpoint) -> None:
    small = with_defaults(Config().updated({"backbone.name": str(checkpoint("dinov2"))}))
    assert small.backbone.blocks == (2,)  # half of three blocks
    assert small.model.size == (256, 256)
    clip = with_defaults(Config().updated({"backbone.name": str(checkpoint("clip"))}))
    assert clip.backbone.blocks == (2,)  # three quarters
    assert load_backbone(BackboneConfig(name=str(checkpoint("clip")))).blocks == (2,)


def test_a_number_of_patches_is_an_input_size_of_the_backbone(shared: Path) -> None:
    sizes = {}
    for name in ("nano", "dinov2-small-focus", "deit-tiny-clip"):
        folder = name if name == "nano" else str(shared / "weights" / name)
        settings = with_defaults(Config.preset("accurate").updated({"backbone.name": folder}))
        sizes[name] = settings.model.size
        assert load_backbone(settings.backbone).grid(settings.model.size) == (32, 32)
    assert sizes == {"nano": (256, 256), "dinov2-small-focus": (448, 448), "deit-tiny-clip": (512, 512)}


def test_defaults_of_the_usual_sizes() -> None:
    assert default_blocks("clip", 12, "one") == (9,)  # the paper's backbone, as runs so far were trained
    assert default_blocks("clip", 24, "one") == (18,)
    assert default_blocks("clip", 4, "one") == (4,)  # the embedded one
    assert default_blocks("dinov2", 12, "one") == default_blocks("dinov3_vit", 12, "one") == (6,)
    assert default_blocks("dinov2", 12, "several") == (4, 6)
    assert default_blocks("vit", 1, "one") == (1,)
    assert [default_image_size(patch) for patch in (8, 14, 16, 32)] == [256, 322, 256, 256]


def test_what_needs_clip_says_so(checkpoint) -> None:
    with pytest.raises(BackboneError, match=r"is no CLIP\n  expected: model_type 'clip'\n  got: model_type 'dinov2'"):
        load_clip(BackboneConfig(name=str(checkpoint("dinov2")), blocks=(1,)))
    assert isinstance(load_clip(BackboneConfig(name=str(checkpoint("clip")), blocks=(1,))), FrozenClip)


def test_the_real_dinov2_loads_by_the_same_path(shared: Path) -> None:
    settings = with_defaults(Config().updated({"backbone.name": str(shared / "weights" / "dinov2-small-focus")}))
    assert (settings.backbone.blocks, settings.model.size) == ((6,), (322, 322))
    backbone = load_backbone(settings.backbone)
    assert (backbone.grid(settings.model.size), backbone.width, len(backbone.layers)) == ((23, 23), 384, 6)
