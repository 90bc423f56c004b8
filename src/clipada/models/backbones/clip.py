"""The frozen CLIP: patch tokens of one vision block, and access to the text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPTextModelWithProjection,
    CLIPVisionModel,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]

from clipada.config import Tune

Normalization = tuple[Sequence[float], Sequence[float]]

_IDLE = ("post_layernorm", "token_embedding")
"""Parts that no gradient reaches: patch tokens skip the last norm, and the prompt keeps its words' embeddings."""


class FrozenClip(nn.Module):
    """A CLIP with its vision tower up to one block and its text tower, frozen unless an encoder is tuned.

    Shapes: ``B`` images, ``H x W`` pixels, patch ``p``, grid ``h = round(H / p)``, ``w = round(W / p)``, vision width
    ``D`` (768 for ViT-B/16), text width ``T`` (512) and embedding width ``E`` (512).

    Args:
        vision: The vision tower, already cut after the wanted block.
        text: The text tower with its projection.
        tokenizer: The text tower's tokenizer.
        normalization: Mean and standard deviation of each channel of pixel values 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vision: CLIPVisionModel,
        text: CLIPTextModelWithProjection,
        tokenizer: Any,
        normalization: Normalization = (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.tokenizer = tokenizer
        mean, std = normalization
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        vision_config: Any = vision.config
        text_config: Any = text.config
        self.width: int = vision_config.hidden_size
        self.patch_size: int = vision_config.patch_size
        self.text_width: int = text_config.hidden_size
        self.embedding_width: int = text_config.projection_dim
        self.context_length: int = text_config.max_position_embeddings
        self._origin: str | None = None
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode, even if the whole model is set to training mode."""
        return super().train(False)

    def tune(self, encoders: Tune) -> None:
        """Unfreeze encoders, except parts without effect on maps: the word table and the vision tower's last norm."""
        if encoders == "none":
            return
        self._origin = self.sha256()
        for name, parameter in self.named_parameters():
            tower = "image" if name.startswith("vision.") else "text"
            parameter.requires_grad_(encoders in (tower, "both") and not any(part in name for part in _IDLE))

    @contextmanager
    def plain_attention(self) -> Iterator[None]:
        """Compute the vision tower's attention by plain matrix products instead of the fused kernel.

        The sums are the same in another order. On a CPU the gradient of fused bfloat16 attention takes twice the time.
        """
        fused: str = self.vision.config._attn_implementation
        self.vision.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.vision.set_attn_implementation(fused)

    @property
    def origin_sha256(self) -> str:
        """Hash of the weights as they were loaded, before any tuning."""
        return self._origin or self.sha256()

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize RGB pixel values 0..1, ``(B, 3, H, W)``, to CLIP's input ``X`` of the same shape."""
        return (images - self.mean) / self.std

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Compute the token grid ``(h, w)`` of an image of ``size`` ``(H, W)``."""
        height, width = (max(1, round(side / self.patch_size)) for side in size)
        return height, width

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute patch tokens ``F``: the block's raw output, without the class token and without a final LayerNorm.

        Args:
            inputs: ``X``, ``(B, 3, H, W)``, normalized. Sides that are no multiple of the patch size are resized to
                the nearest multiple; position embeddings are interpolated to the grid (bicubic).

        Returns:
            ``(B, h * w, D)``, in row-major order of the grid.
        """
        tokens: Tensor = self.vision(self.to_whole_patches(inputs), interpolate_pos_encoding=True).last_hidden_state
        return tokens[:, 1:]

    def to_whole_patches(self, inputs: Tensor) -> Tensor:
        """Resize inputs ``(B, 3, H, W)`` to ``(B, 3, h p, w p)`` unless they already are whole patches."""
        whole = [side * self.patch_size for side in self.grid(inputs.shape[-2:])]
        if list(inputs.shape[-2:]) == whole:
            return inputs
        return F.interpolate(inputs, size=whole, mode="bilinear", align_corners=False, antialias=True)

    def word_ids(self, words: str) -> list[int]:
        """Tokenize ``words`` to ids, without start and end."""
        ids: list[int] = self.tokenizer(words, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return ids

    def embed_ids(self, ids: Sequence[int]) -> Tensor:
        """Look up word embeddings ``(len(ids), T)``, before positions are added."""
        table: Tensor = self.text.text_model.embeddings.token_embedding.weight
        return table[torch.tensor(ids, dtype=torch.long, device=table.device)]

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

    def sha256(self) -> str:
        """Compute the hash of all used weights and of the normalization in float32, independent of file and dtype."""
        digest = hashlib.sha256()
        for name, tensor in sorted((self.state_dict() | dict(self.named_buffers(recurse=False))).items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
        return digest.hexdigest()
