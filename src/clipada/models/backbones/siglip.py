"""SigLIP (Zhai et al., 2023) and SigLIP 2 (Tschannen et al., 2025): no class token, a text tower that is not causal."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Siglip2TextModel, Siglip2VisionModel, SiglipTextModel, SiglipVisionModel

from clipada.models.backbones.clip import ClipTower


class Siglip(ClipTower):
    """A SigLIP, or a SigLIP 2 of fixed resolution, with its text tower."""

    vision_class: ClassVar[Any] = SiglipVisionModel
    text_class: ClassVar[Any] = SiglipTextModel

    @classmethod
    def vision_config(cls, configuration: Any) -> Any:
        """Return the vision tower's part of a checkpoint's configuration, without the head that pools all patches."""
        configuration.vision_config.vision_use_head = False
        return configuration.vision_config

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: none."""
        return 0

    @property
    def embedding_width(self) -> int:
        """Width ``E`` of the space that both towers share."""
        width: int = self.text.config.projection_size
        return width

    @property
    def word_table(self) -> Tensor:
        """Embeddings of all words, ``(vocabulary, T)``."""
        table: Tensor = self.text.embeddings.token_embedding.weight
        return table

    def prompt_ids(self, prefix: str, suffix: str) -> tuple[list[int], list[int]]:
        """Tokenize the words before and after the prompt's vectors; there is no start token."""
        return self.word_ids(prefix), [*self.word_ids(suffix), self.tokenizer.eos_token_id]

    def encode_text(self, words: Tensor) -> Tensor:
        """Compute the head's output at the last position of one sequence, padded to the context length as in training.

        Args:
            words: ``(L, T)``, up to end-of-text, ``L`` up to the context length.

        Returns:
            ``(E,)``
        """
        padding = self.embed_ids([self.tokenizer.pad_token_id] * (self.context_length - len(words)))
        hidden = self.text.embeddings(inputs_embeds=torch.cat([words, padding]).unsqueeze(0))
        hidden = self.text.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        embedding: Tensor = self.text.head(self.text.final_layer_norm(hidden)[:, -1])
        return embedding.squeeze(0)


class Siglip2(Siglip):
    """A SigLIP 2 of flexible resolution ("NaFlex"), whose patches are embedded by a linear layer."""

    vision_class = Siglip2VisionModel
    text_class = Siglip2TextModel

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, h w, W)``; positions are bilinear, antialiased."""
        patches = F.conv2d(inputs, *self._kernel(), stride=self.patch_size).flatten(2).transpose(1, 2)
        embeddings = self.vision.embeddings
        side = embeddings.position_embedding_size
        table = embeddings.position_embedding.weight.reshape(side, side, -1).permute(2, 0, 1).unsqueeze(0)
        grid = self.grid(inputs.shape[-2:])
        positions = F.interpolate(table, size=grid, mode="bilinear", align_corners=False, antialias=True)
        return patches + positions.flatten(2).transpose(1, 2)

    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches as the linear layer does."""
        weight, bias = self._kernel()
        convolution = nn.Conv2d(3, self.block_width, self.patch_size, stride=self.patch_size, device="meta")
        convolution.weight, convolution.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias))
        return convolution

    def _kernel(self) -> tuple[Tensor, Tensor]:
        """Return the linear layer as weights of a convolution: a patch's values are ordered (row, column, RGB)."""
        linear, side = self.vision.embeddings.patch_embedding, self.patch_size
        return linear.weight.reshape(-1, side, side, 3).permute(0, 3, 1, 2), linear.bias
