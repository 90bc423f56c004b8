"""Backbones with a text tower, which embeds the paper's prompt beside the images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from clipada.config import BackboneConfig
from clipada.models.backbones.base import Backbone, Normalization


class TextBackbone(Backbone):
    """A backbone with a text tower.

    Shapes: text width ``T`` of word embeddings, embedding width ``E`` that both towers share.

    Args:
        vision: The vision tower, already cut after the last block that is read.
        config: Blocks to read, and the form of their output.
        normalization: Mean and standard deviation of each channel of pixel values 0..1.
        text: The text tower with its projection.
        tokenizer: The text tower's tokenizer.
    """

    text_class: ClassVar[Any]
    """The class in `transformers` of the text tower."""

    def __init__(
        self, vision: Any, config: BackboneConfig, normalization: Normalization, text: Any, tokenizer: Any
    ) -> None:
        super().__init__(vision, config, normalization)
        self.text = text.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.context_length: int = text.config.max_position_embeddings

    @property
    def text_width(self) -> int:
        """Width ``T`` of word embeddings."""
        width: int = self.text.config.hidden_size
        return width

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """Width ``E`` of the space that both towers share."""

    @abstractmethod
    def encode_text(self, words: Tensor) -> Tensor:
        """Embed one sequence of word embeddings ``(L, T)``, ``L`` up to the context length: ``(E,)``."""

    @property
    @abstractmethod
    def word_table(self) -> Tensor:
        """Embeddings of all words, ``(vocabulary, T)``."""

    def prompt_ids(self, prefix: str, suffix: str) -> tuple[list[int], list[int]]:
        """Tokenize the words before and after the prompt's vectors, with the tokenizer's own start and end."""
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return [start, *self.word_ids(prefix)], [*self.word_ids(suffix), end]

    def word_ids(self, words: str) -> list[int]:
        """Tokenize ``words`` to ids, without start and end."""
        ids: list[int] = self.tokenizer(words, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return ids

    def embed_ids(self, ids: Sequence[int]) -> Tensor:
        """Look up word embeddings ``(len(ids), T)``, before positions are added."""
        return self.word_table[torch.tensor(ids, dtype=torch.long, device=self.word_table.device)]
