"""DINOv2 (Oquab et al., 2023), also with registers (Darcet et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import Dinov2Model, Dinov2WithRegistersModel

from clipada.config import BackboneConfig
from clipada.models.backbones.base import Backbone, BlockParts, Normalization


class Dinov2(Backbone):
    """A DINOv2 up to the last block that is read."""

    vision_class: ClassVar[Any] = Dinov2Model
    final_norm = "layernorm"

    def __init__(self, vision: Any, config: BackboneConfig, normalization: Normalization) -> None:
        vision.embeddings.mask_token = None  # only its pre-training needs it
        super().__init__(vision, config, normalization)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        layers: Sequence[nn.Module] = self.vision.encoder.layer
        return layers

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, P + h w, W)``; positions are bicubic."""
        tokens: Tensor = self.vision.embeddings(inputs)
        return tokens

    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches."""
        convolution: nn.Conv2d = self.vision.embeddings.patch_embeddings.projection
        return convolution

    def block_parts(self, layer: Any) -> BlockParts:
        """Return the parts of a block."""
        return dino_block(layer, layer.attention.num_attention_heads)


class Dinov2WithRegisters(Dinov2):
    """A DINOv2 with registers up to the last block that is read."""

    vision_class: ClassVar[Any] = Dinov2WithRegistersModel

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: the class token and the registers."""
        registers: int = self.vision.config.num_register_tokens
        return 1 + registers


def dino_block(layer: Any, heads: int) -> BlockParts:
    """Return the parts of a block that is named as DINOv2's and DINOv3's are."""
    attention, mlp = layer.attention, layer.mlp
    gated = hasattr(mlp, "gate_proj")
    plain = not gated and hasattr(mlp, "fc1")
    return BlockParts(
        heads=heads,
        norm1=layer.norm1,
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        out=attention.o_proj,
        norm2=layer.norm2,
        up=mlp.fc1 if plain else mlp.up_proj,
        activation=mlp.activation_fn if plain else mlp.act_fn,
        down=mlp.fc2 if plain else mlp.down_proj,
        gate=mlp.gate_proj if gated else None,
        scale1=layer.layer_scale1.lambda1,
        scale2=layer.layer_scale2.lambda1,
    )
