"""Plain vision transformers: ViT (Dosovitskiy et al., 2020) and DeiT (Touvron et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import DeiTModel, ViTModel

from clipada.models.backbones.base import Backbone, BlockParts


class Vit(Backbone):
    """A ViT up to the last block that is read."""

    vision_class: ClassVar[Any] = ViTModel
    final_norm = "layernorm"
    vision_options = MappingProxyType({"add_pooling_layer": False})

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        layers: Sequence[nn.Module] = self.vision.layers
        return layers

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, P + h w, W)``; positions are bicubic."""
        tokens: Tensor = self.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return tokens

    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches."""
        convolution: nn.Conv2d = self.vision.embeddings.patch_embeddings.projection
        return convolution

    def block_parts(self, layer: Any) -> BlockParts:
        """Return the parts of a block."""
        attention, mlp = layer.attention, layer.mlp
        return BlockParts(
            heads=attention.num_attention_heads,
            norm1=layer.layernorm_before,
            query=attention.q_proj,
            key=attention.k_proj,
            value=attention.v_proj,
            out=attention.o_proj,
            norm2=layer.layernorm_after,
            up=mlp.fc1,
            activation=mlp.activation_fn,
            down=mlp.fc2,
        )


class Deit(Vit):
    """A DeiT with its distillation token, up to the last block that is read."""

    vision_class = DeiTModel

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: the class and the distillation token."""
        return 2
