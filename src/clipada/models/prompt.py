"""The anomaly direction: an object-agnostic prompt whose class name is learned, or a vector.

The prompt is that of section 4.2 of CLIP-ADA, after CoOp; the vector is beyond the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipada.config import PromptConfig
from clipada.errors import ConfigError
from clipada.models.backbones import Backbone, TextBackbone


class Prompt(nn.Module):
    """``[start] prefix [p1]..[pn] suffix [end]``, equations 1 and 2: the text the anomalies are aligned with.

    Args:
        clip: The frozen backbone whose text tower reads the prompt.
        config: The words, and whether the vectors between them are learned or the embedding of a fixed word.
        generator: Where the first values of learned vectors come from.

    Raises:
        ConfigError: The prompt is longer than the text tower's context.
    """

    vectors: Tensor
    words: Tensor

    def __init__(self, clip: TextBackbone, config: PromptConfig, generator: torch.Generator) -> None:
        super().__init__()
        prefix, suffix = clip.prompt_ids(config.prefix, config.suffix)
        if config.learnable:
            first = torch.randn((config.length, clip.text_width), generator=generator) * config.init_std
            self.vectors = nn.Parameter(first)
        else:
            self.register_buffer("vectors", clip.embed_ids(clip.word_ids(config.word)), persistent=False)
        self.register_buffer("words", clip.embed_ids(prefix + suffix), persistent=False)
        self.slot = len(prefix)
        self._check_length(clip.context_length)

    def forward(self, clip: TextBackbone) -> Tensor:
        """Embed the prompt: ``t``, ``(E,)``, not normalized."""
        before, after = self.words[: self.slot], self.words[self.slot :]
        return clip.encode_text(torch.cat([before, self.vectors, after]))

    def _check_length(self, limit: int) -> None:
        length = len(self.words) + len(self.vectors)
        if length > limit:
            raise ConfigError("the prompt is too long", expected=f"{limit} tokens at most", got=f"{length} tokens")


class DirectionVector(nn.Module):
    """A vector in the prompt's role, for a backbone without words. Beyond the paper.

    Args:
        width: ``E``.
        config: True ``learnable`` to learn the vector. Otherwise all its channels are equal, and only the projections
            are learned.
        generator: Source of its first values, from a standard normal distribution; only its direction counts.
    """

    vector: Tensor

    def __init__(self, width: int, config: PromptConfig, generator: torch.Generator) -> None:
        super().__init__()
        if config.learnable:
            self.vector = nn.Parameter(torch.randn(width, generator=generator))
        else:
            self.register_buffer("vector", torch.ones(width), persistent=False)

    def forward(self, backbone: Backbone) -> Tensor:  # noqa: ARG002
        """Return the vector ``(E,)``, not normalized; the backbone has no part in it."""
        return self.vector
