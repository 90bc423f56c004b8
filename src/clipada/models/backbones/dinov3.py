"""DINOv3's vision transformers (Siméoni et al., 2025): registers and rotary positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import DINOv3ViTModel

from clipada.models.backbones.base import BlockParts, Rotary
from clipada.models.backbones.dinov2 import Dinov2WithRegisters, dino_block


class Dinov3(Dinov2WithRegisters):
    """A DINOv3 vision transformer up to the last block that is read: its tokens are embedded without positions."""

    vision_class = DINOv3ViTModel
    final_norm = "norm"

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        layers: Sequence[nn.Module] = self.vision.model.layer
        return layers

    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches."""
        convolution: nn.Conv2d = self.vision.embeddings.patch_embeddings
        return convolution

    def rotary(self, inputs: Tensor) -> Rotary:
        """Return the rotary positions of whole patches ``(B, 3, h p, w p)``."""
        cosine, sine = self.vision.rope_embeddings(inputs)
        return cosine, sine

    def block_parts(self, layer: Any) -> BlockParts:
        """Return the parts of a block."""
        return dino_block(layer, layer.attention.num_heads)

    def _block_inputs(self, inputs: Tensor) -> Mapping[str, Any]:
        return {"attention_mask": None, "position_embeddings": self.rotary(inputs)}
