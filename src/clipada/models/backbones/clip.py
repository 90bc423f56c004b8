"""CLIP (Radford et al., 2021): the paper's backbone, with its text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPVisionModel

from clipada.models.backbones.base import BlockParts
from clipada.models.backbones.text import TextBackbone


class ClipTower(TextBackbone):
    """A vision tower whose parts `transformers` names as CLIP's: that of CLIP and of SigLIP."""

    final_norm = "post_layernorm"
    idle = ("token_embedding",)  # the prompt keeps its words' embeddings

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        layers: Sequence[nn.Module] = self.vision.encoder.layers
        return layers

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, P + h w, W)``; positions are bicubic."""
        tokens: Tensor = self.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return tokens

    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches."""
        convolution: nn.Conv2d = self.vision.embeddings.patch_embedding
        return convolution

    def block_parts(self, layer: Any) -> BlockParts:
        """Return the parts of a block."""
        attention, mlp = layer.self_attn, layer.mlp
        return BlockParts(
            heads=attention.num_heads,
            norm1=layer.layer_norm1,
            query=attention.q_proj,
            key=attention.k_proj,
            value=attention.v_proj,
            out=attention.out_proj,
            norm2=layer.layer_norm2,
            up=mlp.fc1,
            activation=mlp.activation_fn,
            down=mlp.fc2,
        )


class FrozenClip(ClipTower):
    """A CLIP with its vision tower up to the last block that is read, and its text tower."""

    vision_class = CLIPVisionModel
    text_class = CLIPTextModelWithProjection

    @property
    def first_norm(self) -> nn.LayerNorm:
        """The norm before the first block."""
        norm: nn.LayerNorm = self.vision.pre_layrnorm
        return norm

    @property
    def embedding_width(self) -> int:
        """Width ``E`` of the space that both towers share."""
        width: int = self.text.config.projection_dim
        return width

    @property
    def word_table(self) -> Tensor:
        """Embeddings of all words, ``(vocabulary, T)``."""
        table: Tensor = self.text.text_model.embeddings.token_embedding.weight
        return table

    def encode_text(self, words: Tensor) -> Tensor:
        """Compute the projected output at the last position of one sequence of word embeddings.

        The text tower is causal: padding after the end-of-text token cannot change that token's output, so the sequence
        ends there.

        Args:
            words: ``(L, T)``, from start-of-text to end-of-text, ``L`` up to the context length.

        Returns:
            ``(E,)``
        """
        tower = self.text.text_model
        hidden = tower.embeddings(inputs_embeds=words.unsqueeze(0))
        length = words.shape[0]
        causal = torch.full((length, length), float("-inf"), device=words.device).triu(1)
        hidden = tower.encoder(inputs_embeds=hidden, attention_mask=causal[None, None]).last_hidden_state
        embedding: Tensor = self.text.text_projection(tower.final_layer_norm(hidden[:, -1]))
        return embedding.squeeze(0)
