"""Frozen backbones and their loading."""

from clipada.models.backbones.base import Backbone, BlockParts, Reading, resized
from clipada.models.backbones.checkpoints import EMBEDDED_FOLDER
from clipada.models.backbones.choice import ChosenBackbone, choose_backbone
from clipada.models.backbones.clip import FrozenClip
from clipada.models.backbones.loading import (
    default_preset,
    forward_cost,
    load_backbone,
    load_clip,
    load_whole_clip,
    patch_size,
    read_configuration,
    with_defaults,
)
from clipada.models.backbones.text import TextBackbone

__all__ = [
    "EMBEDDED_FOLDER",
    "Backbone",
    "BlockParts",
    "ChosenBackbone",
    "FrozenClip",
    "Reading",
    "TextBackbone",
    "choose_backbone",
    "default_preset",
    "forward_cost",
    "load_backbone",
    "load_clip",
    "load_whole_clip",
    "patch_size",
    "read_configuration",
    "resized",
    "with_defaults",
]
