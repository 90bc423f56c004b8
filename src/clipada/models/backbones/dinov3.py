"""DINOv3's vision transformers (Siméoni et al., 2025): registers and rotary positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import DINOv3ViTModel

from clipada.config import BackboneConfig
from clipada.models.backbones.base import Backbone, BlockParts, Normalization, Rotary
from clipada.models.backbones.dinov2 import dino_block


class Dinov3(Backbone):
    """A DINOv3 vision transformer up to the last block that is read."""

    vision_class = DINOv3ViTModel
    final_norm = "norm"

    def __init__(self, vision: Any, config: BackboneConfig, normalization: Normalization) -> None:
        vision.embeddings.mask_token = None  # only its pre-training needs it
        super().__init__(vision, config, normalization)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        layers: Sequence[nn.Module] = self.vision.model.layer
        return layers

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: the class token and the registers."""
        registers: int = self.vision.config.num_register_tokens
        return 1 + registers

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, P + h w, W)``, without positions."""
        tokens: Tensor = self.vision.embeddings(inputs)
        return tokens

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
