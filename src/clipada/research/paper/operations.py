"""How many operations an image costs in each baseline and in the method: for plans without a trial."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipada.config import BackboneConfig, BaselinesConfig
from clipada.data import Dataset
from clipada.errors import BackboneError
from clipada.models.backbones import read_configuration
from clipada.research.baselines.draem import Draem
from clipada.research.baselines.reconstruction import TokenTransformer

THERE_AND_BACK = 3
"""A training step of a whole network against its forward pass: one more back to its inputs, and one to its weights."""


@dataclass(frozen=True, kw_only=True)
class TowerShape:
    """The sizes of a vision tower; ViT-B/16's by default.

    Attributes:
        width: ``D``, of its tokens.
        feedforward: Hidden width of its blocks' two linear layers.
        blocks: How many it has in all.
        patch: Side of a patch, in pixels.
    """

    width: int = 768
    feedforward: int = 3072
    blocks: int = 12
    patch: int = 16

    def operations(self, tokens: int, blocks: int) -> float:
        """Multiplications and additions of matrix products, for ``tokens`` that pass ``blocks`` blocks together."""
        each = 2 * (4 * self.width**2 + 2 * self.width * self.feedforward) + 4 * tokens * self.width
        return float(tokens * blocks * each)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Multiplications and additions.

    Attributes:
        learning: For each image that is learned from.
        scoring: For each image that is scored.
        once: All else.
    """

    learning: float
    scoring: float
    once: float = 0.0


def look_operations(backbone: BackboneConfig, image_size: int) -> float:
    """One image through the tower up to the block; ViT-B/16's, the paper's, where the backbone is not at hand."""
    shape = _shape(backbone)
    return shape.operations(_tokens(shape, image_size), backbone.patch_block)


def baseline_operations(
    name: str, settings: BaselinesConfig, backbone: BackboneConfig, image_size: int, dataset: Dataset
) -> Operations:
    """What a baseline costs.

    Args:
        name: A key of ``BASELINES``.
        settings: All baselines' settings.
        backbone: The frozen CLIP.
        image_size: Side of the input, in pixels.
        dataset: Its training images fill the memory bank.
    """
    shape = _shape(backbone)
    look, tokens = look_operations(backbone, image_size), _tokens(shape, image_size)
    if name == "memory-bank":
        bank = settings.memory_bank
        candidates = min(bank.candidates, (tokens - 1) * len(dataset.train))
        kept = bank.share * candidates
        choosing = 2.0 * candidates * kept * min(shape.width, bank.projection)
        return Operations(learning=look, scoring=look + 2.0 * (tokens - 1) * kept * shape.width, once=choosing)
    if name == "zero-shot":
        side = round((tokens - 1) ** 0.5)
        parts = [(max(0, side - window + 1) ** 2, window**2 + 1) for window in settings.zero_shot.windows]
        scales = [(1, tokens), *parts]
        return Operations(
            learning=0.0, scoring=sum(count * shape.operations(size, shape.blocks) for count, size in scales)
        )
    if name == "reconstruction":
        side = round((tokens - 1) ** 0.5)
        network = TokenTransformer(shape.width, (side, side), settings.reconstruction).to("meta")
        own = _counted(network, torch.empty(1, tokens - 1, shape.width, device="meta"))
        return Operations(learning=look + THERE_AND_BACK * own, scoring=look + own, once=look * len(dataset.train))
    with torch.device("meta"):
        own = _counted(Draem(settings.draem), torch.empty(1, 3, image_size, image_size))
    return Operations(learning=THERE_AND_BACK * own, scoring=own)


def _counted(network: nn.Module, inputs: torch.Tensor) -> float:
    """Operations of one forward pass; nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        network(inputs)
    return float(counter.get_total_flops())


def _shape(backbone: BackboneConfig) -> TowerShape:
    """The sizes of the tower; ViT-B/16's, the paper's, where the backbone is not at hand."""
    try:
        vision = read_configuration(backbone.name).vision_config
    except BackboneError:
        return TowerShape()
    return TowerShape(
        width=vision.hidden_size,
        feedforward=vision.intermediate_size,
        blocks=vision.num_hidden_layers,
        patch=vision.patch_size,
    )


def _tokens(shape: TowerShape, image_size: int) -> int:
    """With the class token."""
    return round(image_size / shape.patch) ** 2 + 1
