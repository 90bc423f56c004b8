"""Choice of a backbone for those who name none: the best that this machine can load."""

from __future__ import annotations

from typing import Literal, NamedTuple

from huggingface_hub import try_to_load_from_cache

from clipada.config import EMBEDDED_BACKBONE
from clipada.models.backbones.checkpoints import CheckpointSource, require_hub

Origin = Literal["named", "cache", "hub", "embedded"]
"""Source of a backbone: its user named it, the local cache, the hub, or the package."""

PREFERRED = ("facebook/dinov2-small", "facebook/dinov2-base", "openai/clip-vit-base-patch16")
"""Hub names that are looked for in the local cache; the first one is the one that is downloaded."""

_FILES = ("config.json", "model.safetensors")


class ChosenBackbone(NamedTuple):
    """A backbone, by hub name, folder or the embedded one's name, and where it comes from."""

    name: str
    origin: Origin


def choose_backbone(named: str | None = None) -> ChosenBackbone:
    """Choose the backbone that is named, else one in the local cache, else one on the hub, else the embedded one."""
    if named is not None:
        return ChosenBackbone(named, "named")
    for name in PREFERRED:
        if all(isinstance(try_to_load_from_cache(name, file), str) for file in _FILES):
            return ChosenBackbone(name, "cache")
    try:
        require_hub(CheckpointSource(PREFERRED[0], None))
    except OSError:  # no network, or none that leads to the hub
        return ChosenBackbone(EMBEDDED_BACKBONE, "embedded")
    return ChosenBackbone(PREFERRED[0], "hub")
