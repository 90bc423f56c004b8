"""CLIP-ADA (arXiv 2403.09493), top to bottom: a coarse map, then refinement passes weighted by the last map."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.config import Config, ModelConfig
from clipada.models.backbones import FrozenClip, load_clip
from clipada.models.memory import Prototypes
from clipada.models.prompt import Prompt
from clipada.randomness import derived_generator

CLIP = "clip."
"""Prefix of the names of CLIP's own parameters."""


class ClipAda(nn.Module):
    """A frozen CLIP (or one whose encoders are tuned), one prompt and a projection per pass.

    Shapes: ``B`` images of ``H x W`` pixels, token grid ``h x w``, vision width ``D``, embedding width ``E``.

    Args:
        clip: The frozen backbone.
        prompt: The prompt, in the same CLIP's words.
        projections: One linear layer ``D -> E`` for each pass, coarse first.
        similarity: Projected tokens and text vector to logits.
        config: Passes, attention, and the memory's weight.
        memory: Typical patches of normal images, if the model has any.
    """

    def __init__(
        self,
        clip: FrozenClip,
        prompt: Prompt,
        projections: nn.ModuleList,
        similarity: DotSimilarity | CosineSimilarity,
        config: ModelConfig,
        memory: Prototypes | None = None,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.prompt = prompt
        self.projections = projections
        self.similarity = similarity
        self.config = config
        self.memory = memory

    def forward(self, images: Tensor, text: Tensor | None = None) -> list[Tensor]:
        """Compute the logits of every pass, coarse first.

        Args:
            images: RGB pixel values 0..1, ``(B, 3, H, W)``.
            text: ``t_hat``, ``(E,)``, if it was computed before; it does not depend on the images.

        Returns:
            ``R + 1`` tensors ``S_i``, ``(B, h, w)``; ``sigmoid(S_i)`` is the anomaly probability ``M_i``. With a
            memory, its offset ``w u(F_0)`` is added to each at the end, so that it weights no pass.
        """
        text = self.text_vector() if text is None else text
        height, width = self.clip.grid(images.shape[-2:])
        inputs = self.clip.normalize(images)
        passes: list[Tensor] = []
        offset: Tensor | None = None
        for projection in self.projections:
            if passes:
                inputs = self.attend(images, passes[-1].sigmoid())  # X_i
            tokens = self.clip(inputs)  # F_i
            if self.memory is not None and offset is None:
                offset = self.config.prototype_weight * self.memory(tokens).reshape(-1, height, width)
            logits = self.similarity(projection(tokens), text)  # S_i = V_i t_hat
            passes.append(logits.unflatten(1, (height, width)))
        return passes if offset is None else [logits + offset for logits in passes]

    def text_vector(self) -> Tensor:
        """Embed the prompt at unit length: ``t_hat = t / |t|``, ``(E,)``."""
        return F.normalize(self.prompt(self.clip), dim=-1)

    def attend(self, images: Tensor, maps: Tensor) -> Tensor:
        """Make the next pass's input: the image, weighted by the last pass's map (equation 5).

        Args:
            images: RGB pixel values 0..1, ``(B, 3, H, W)``.
            maps: ``M``, ``(B, h, w)``, values 0..1.

        Returns:
            ``X * A`` or ``X * (1 + A)``, ``A = up(M)``, normalized, ``(B, 3, H, W)``.
        """
        attention = upsample(maps.detach() if self.config.detach_attention else maps, images.shape[-2:]).unsqueeze(1)
        gain = attention if self.config.attention == "product" else 1 + attention
        if self.config.attention_space == "pixel":
            return self.clip.normalize(images * gain)
        return self.clip.normalize(images) * gain

    def with_memory(self, memory: Prototypes) -> ClipAda:
        """Return the same model with a memory; all other parts are shared."""
        return ClipAda(self.clip, self.prompt, self.projections, self.similarity, self.config, memory)

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by name: all of the adapter, and the tuned encoders of CLIP."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters outside CLIP, by name."""
        return {name: value for name, value in self.trained_parameters().items() if not name.startswith(CLIP)}

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters of CLIP by name; none unless ``training.tune`` names an encoder."""
        return {name: value for name, value in self.trained_parameters().items() if name.startswith(CLIP)}


class DotSimilarity(nn.Module):
    """``S = V t_hat`` (equation 3)."""

    def forward(self, values: Tensor, text: Tensor) -> Tensor:
        """Compute logits ``(B, N)`` of projected tokens ``(B, N, E)`` and a unit text vector ``(E,)``."""
        return values @ text


class CosineSimilarity(nn.Module):
    """``S = scale * cos(V, t_hat) + bias``, scale and bias learned; the scale starts at CLIP's 1 / 0.07."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, values: Tensor, text: Tensor) -> Tensor:
        """Compute logits ``(B, N)`` of projected tokens ``(B, N, E)`` and a unit text vector ``(E,)``."""
        return self.log_scale.exp() * (F.normalize(values, dim=-1) @ text) + self.bias


def upsample(maps: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Resize ``(B, h, w)`` to ``(B, H, W)`` bilinearly."""
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode="bilinear", align_corners=False).squeeze(1)


def build_model(config: Config, clip: FrozenClip | None = None, memory: Prototypes | None = None) -> ClipAda:
    """Build the untrained model of a config; first values follow from ``config.training.seed``.

    Args:
        config: All settings.
        clip: A loaded backbone; by default ``config.backbone`` is loaded.
        memory: Typical patches of normal images, if they are known.
    """
    clip = load_clip(config.backbone) if clip is None else clip
    clip.tune(config.training.tune)
    generator = derived_generator(config.training.seed, "initial values")
    prompt = Prompt(clip, config.prompt, generator)
    projections = nn.ModuleList(
        _linear(clip.width, clip.embedding_width, generator) for _ in range(config.model.refinements + 1)
    )
    similarity = CosineSimilarity() if config.model.similarity == "cosine" else DotSimilarity()
    return ClipAda(clip, prompt, projections, similarity, config.model, memory)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Build a linear layer with PyTorch's own distribution of first values, ``U(+-1 / sqrt(inputs))``, seeded."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
