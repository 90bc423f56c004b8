"""One object-agnostic prompt whose class name is learned (section 4.2 of CLIP-ADA, after CoOp)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipada.config import PromptConfig
from clipada.errors import ConfigError
from clipada.models.backbones import FrozenClip


class Prompt(nn.Module):
    """``[start] prefix [p1]..[pn] suffix [end]``, equations 1 and 2: the text the anomalies are aligned with.

    Args:
        clip: The frozen CLIP whose text tower reads the prompt.
        config: The words, and whether the vectors between them are learned or the embedding of a fixed word.
        generator: Where the first values of learned vectors come from.

    Raises:
        ConfigError: The prompt is longer than CLIP's context.
    """

    vectors: Tensor
    words: Tensor

    def __init__(self, clip: FrozenClip, config: PromptConfig, generator: torch.Generator) -> None:
        super().__init__()
        start, end = clip.tokenizer.bos_token_id, clip.tokenizer.eos_token_id
        prefix = [start, *clip.word_ids(config.prefix)]
        suffix = [*clip.word_ids(config.suffix), end]
        if config.learnable:
            first = torch.randn((config.length, clip.text_width), generator=generator) * config.init_std
            self.vectors = nn.Parameter(first)
        else:
            self.register_buffer("vectors", clip.embed_ids(clip.word_ids(config.word)), persistent=False)
        self.register_buffer("words", clip.embed_ids(prefix + suffix), persistent=False)
        self.slot = len(prefix)
        self._check_length(clip.context_length)

    def forward(self, clip: FrozenClip) -> Tensor:
        """Embed the prompt: ``t``, ``(E,)``, not normalized."""
        before, after = self.words[: self.slot], self.words[self.slot :]
        return clip.encode_text(torch.cat([before, self.vectors, after]))

    def _check_length(self, limit: int) -> None:
        length = len(self.words) + len(self.vectors)
        if length > limit:
            raise ConfigError("the prompt is too long", expected=f"{limit} tokens at most", got=f"{length} tokens")
