"""Loading of backbones by hub name or folder, as far as they are needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, CLIPVisionModelWithProjection

from clipada.config import DEFAULT_PRESET, DEFAULT_VISION_PRESET, BackboneConfig, Config, ImageSize, ModelConfig, Preset
from clipada.errors import BackboneError, ConfigError
from clipada.models.backbones.base import Backbone
from clipada.models.backbones.checkpoints import CheckpointSource, load_part, read_normalization, resolved
from clipada.models.backbones.clip import FrozenClip
from clipada.models.backbones.defaults import default_blocks, default_image_size
from clipada.models.backbones.dinov2 import Dinov2, Dinov2WithRegisters
from clipada.models.backbones.dinov3 import Dinov3
from clipada.models.backbones.ijepa import IJepa
from clipada.models.backbones.siglip import Siglip, Siglip2
from clipada.models.backbones.text import TextBackbone
from clipada.models.backbones.vit import Deit, Vit

FAMILIES: dict[str, type[Any]] = {
    "clip": FrozenClip,
    "siglip": Siglip,
    "siglip2": Siglip2,
    "dinov2": Dinov2,
    "dinov2_with_registers": Dinov2WithRegisters,
    "dinov3_vit": Dinov3,
    "vit": Vit,
    "deit": Deit,
    "ijepa": IJepa,
}
"""The families by the ``model_type`` of their configuration."""


def load_backbone(config: BackboneConfig) -> Backbone:
    """Load a frozen backbone by hub name or local folder, or the embedded one, in float32.

    The local cache is used before the network. Blocks that are left open are the family's defaults. Vision blocks above
    the last one that is read are not loaded.

    Raises:
        BackboneError: The checkpoint cannot be found or read, or is of a family that is not known.
        ConfigError: The vision tower has fewer blocks than requested.
    """
    source = CheckpointSource(resolved(config.name), config.revision)
    configuration, family = _read_family(source)
    tower = family.vision_config(configuration)
    config = replace(config, blocks=_blocks(config, configuration.model_type, tower))
    block, blocks = config.read_blocks[-1], tower.num_hidden_layers
    if block > blocks:
        raise ConfigError("setting backbone.blocks is out of range", expected=f"1 to {blocks}", got=str(block))
    tower.num_hidden_layers = block
    options = {"config": tower, "dtype": torch.float32, **family.vision_options}
    vision = load_part("vision tower", family.vision_class, source, **options)
    text = _text_parts(family, configuration, source)
    backbone: Backbone = family(vision, config, read_normalization(source), *text)
    return backbone


def load_clip(config: BackboneConfig) -> FrozenClip:
    """Load a frozen CLIP as ``load_backbone`` does; raise ``BackboneError`` if the checkpoint is another family's."""
    clip = load_backbone(config)
    if not isinstance(clip, FrozenClip):
        got = f"model_type {clip.vision.config.model_type!r}"
        raise BackboneError(f"backbone {config.name} is no CLIP", expected="model_type 'clip'", got=got)
    return clip


def load_whole_clip(name: str) -> tuple[FrozenClip, nn.Linear]:
    """Load a frozen CLIP with all vision blocks, and the visual projection that ``FrozenClip`` does not contain.

    Args:
        name: Hub name, local folder, or the embedded backbone's name.

    Returns:
        The CLIP, and the projection ``D -> E`` of the class token after the final LayerNorm ``vision.post_layernorm``.

    Raises:
        BackboneError: As ``load_clip``.
    """
    source = CheckpointSource(resolved(name), None)
    configuration, family = _read_family(source)
    if family is not FrozenClip:
        got = f"model_type {configuration.model_type!r}"
        raise BackboneError(f"backbone {name} is no CLIP", expected="model_type 'clip'", got=got)
    configuration.vision_config.projection_dim = configuration.projection_dim
    tower = load_part(
        "vision tower",
        CLIPVisionModelWithProjection,
        source,
        config=configuration.vision_config,
        dtype=torch.float32,
    )
    projection: nn.Linear = tower.visual_projection.requires_grad_(False)
    config = BackboneConfig(name=name, blocks=(configuration.vision_config.num_hidden_layers,))
    text = _text_parts(family, configuration, source)
    return FrozenClip(tower.vision_model, config, read_normalization(source), *text), projection


def read_configuration(name: str, revision: str | None = None) -> Any:
    """Read a checkpoint's ``transformers`` configuration; raise ``BackboneError`` if its family is not known."""
    return _read_family(CheckpointSource(resolved(name), revision))[0]


def forward_cost(name: str, model: ModelConfig) -> float:
    """Return the multiplications of one image's forward pass through a backbone's whole vision tower.

    It needs the configuration alone: four projections and a perceptron of four times the width in each block, and the
    products of attention.

    Args:
        name: Hub name or folder of the backbone, or the embedded one's name.
        model: The input size, or what it follows from.

    Raises:
        BackboneError: The checkpoint's configuration cannot be read.
    """
    configuration, family = _read_family(CheckpointSource(resolved(name), None))
    tower = family.vision_config(configuration)
    size = replace(model, image_size=_image_size(model, tower.patch_size)).size
    tokens, width = size[0] * size[1] / tower.patch_size**2, tower.hidden_size
    cost: float = tower.num_hidden_layers * tokens * width * (12 * width + 2 * tokens)
    return cost


def with_defaults(config: Config) -> Config:
    """Return the settings with the blocks and the input size that suit the backbone, where they are left open.

    Raises:
        BackboneError: The checkpoint's configuration cannot be read.
    """
    if config.backbone.blocks is not None and config.model.image_size is not None:
        return config
    configuration, family = _read_family(CheckpointSource(resolved(config.backbone.name), config.backbone.revision))
    tower = family.vision_config(configuration)
    return config.updated(
        {
            "backbone.blocks": _blocks(config.backbone, configuration.model_type, tower),
            "model.image_size": _image_size(config.model, tower.patch_size),
        }
    )


def patch_size(config: BackboneConfig) -> int:
    """Return the side of a backbone's patches in pixels.

    Raises:
        BackboneError: The checkpoint's configuration cannot be read.
    """
    configuration, family = _read_family(CheckpointSource(resolved(config.name), config.revision))
    side: int = family.vision_config(configuration).patch_size
    return side


def _image_size(model: ModelConfig, patch: int) -> ImageSize:
    """Return the input size: as set, else the number of patches that is set, else the default of the patch size."""
    if model.image_size is not None:
        return model.image_size
    return default_image_size(patch) if model.image_patches is None else model.image_patches * patch


def _blocks(config: BackboneConfig, family: str, tower: Any) -> tuple[int, ...]:
    """Return the blocks to read: those that are set, else the defaults of the family's tower."""
    return config.blocks or default_blocks(family, tower.num_hidden_layers, config.levels)


def default_preset(name: str) -> Preset:
    """Return the preset of a training that names none: by the backbone, as far as it can be found."""
    try:
        family = _read_family(CheckpointSource(resolved(name), None))[1]
    except BackboneError:  # which the training reports
        return DEFAULT_PRESET
    return DEFAULT_PRESET if issubclass(family, TextBackbone) else DEFAULT_VISION_PRESET


def _read_family(source: CheckpointSource) -> tuple[Any, type[Any]]:
    """Read a checkpoint's configuration and find its family."""
    configuration = load_part("configuration", AutoConfig, source)
    if configuration.model_type not in FAMILIES:
        raise BackboneError(
            f"backbone {source.name} is of a family that is not known",
            expected="model_type " + ", ".join(FAMILIES),
            got=configuration.model_type,
        )
    return configuration, FAMILIES[configuration.model_type]


def _text_parts(family: type[Any], configuration: Any, source: CheckpointSource) -> tuple[Any, ...]:
    """Load the text tower and the tokenizer of a family that has them."""
    if not issubclass(family, TextBackbone):
        return ()
    options = {"config": configuration.text_config, "dtype": torch.float32}
    text = load_part("text tower", family.text_class, source, **options)
    return text, load_part("tokenizer", AutoTokenizer, source)
