"""Frozen vision backbones: one interface for all families.

A family is a subclass in a file of its own. It defines how an image is embedded and where `transformers` keeps the
parts of its blocks. Reading blocks, grids, hashes, tuning and attention are the same for all and are here.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.config import BackboneConfig, Tune
from clipada.errors import ConfigError

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel of pixel values 0..1."""

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of the rotary positions of the patch tokens, ``(N, head width)`` each."""


class Reading(NamedTuple):
    """The tokens that a backbone reads from images.

    Attributes:
        patches: Patch tokens ``F``, ``(B, h * w, D)``, in row-major order of the grid.
        descriptors: One vector of unit length for each image, ``(B, 2 W)`` for blocks of width ``W``: its class token
            (the mean patch token where there is none) and its mean patch token in the last block that is read.
    """

    patches: Tensor
    descriptors: Tensor


class BlockParts(NamedTuple):
    """The parts of one transformer block, which an export folds.

    ``x = x + scale1 * out(attention(norm1(x)))``, then ``x = x + scale2 * down(activation(up(norm2(x))))``, and with a
    gate ``down(activation(gate(norm2(x))) * up(norm2(x)))``. A scale of ``None`` is 1.
    """

    heads: int
    norm1: nn.LayerNorm
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    norm2: nn.LayerNorm
    up: nn.Linear
    activation: nn.Module
    down: nn.Linear
    gate: nn.Linear | None = None
    scale1: Tensor | None = None
    scale2: Tensor | None = None


class Backbone(nn.Module, ABC):
    """A vision transformer up to the last block that is read, frozen unless its encoder is tuned.

    Shapes: ``B`` images, ``H x W`` pixels, patch ``p``, grid ``h = round(H / p)``, ``w = round(W / p)``, ``P`` prefix
    tokens (class token, registers), ``D`` channels of a patch token: the blocks' width times the number of blocks read.

    Args:
        vision: The vision tower of `transformers`, cut after the last block that is read.
        config: Blocks to read, and the form of their output.
        normalization: Mean and standard deviation of each channel of pixel values 0..1.
    """

    mean: Tensor
    std: Tensor

    vision_class: ClassVar[Any]
    """The class in `transformers` of the vision tower."""

    vision_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Further arguments of that class."""

    final_norm: ClassVar[str]
    """Name of the tower's last LayerNorm."""

    idle: ClassVar[tuple[str, ...]] = ()
    """Name parts of parameters that never change a map, besides the last LayerNorm."""

    def __init__(self, vision: Any, config: BackboneConfig, normalization: Normalization) -> None:
        super().__init__()
        self.vision = vision
        mean, std = normalization
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.blocks = config.read_blocks
        self.tokens = config.tokens
        self.block_width: int = vision.config.hidden_size
        self.width = self.block_width * len(self.blocks)
        self.patch_size: int = vision.config.patch_size
        self.commit: str | None = getattr(vision.config, "_commit_hash", None)
        self._origin: str | None = None
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def vision_config(cls, configuration: Any) -> Any:
        """Return the vision tower's part of a checkpoint's configuration."""
        return getattr(configuration, "vision_config", configuration)

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tensor:
        """Embed whole patches ``(B, 3, h p, w p)`` as tokens ``(B, P + h w, W)``, before any norm."""

    @abstractmethod
    def patch_embedding(self) -> nn.Conv2d:
        """Return the convolution that embeds patches."""

    @abstractmethod
    def block_parts(self, layer: Any) -> BlockParts:
        """Return the parts of a block."""

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches."""
        return 1

    @property
    def text_width(self) -> int:
        """Width of word embeddings; 0 without a text tower."""
        return 0

    @property
    def embedding_width(self) -> int:
        """Width ``E`` of the space in which tokens are compared with the anomaly direction."""
        return self.block_width

    @property
    def first_norm(self) -> nn.LayerNorm | None:
        """The norm before the first block, if the family has one."""
        return None

    def rotary(self, inputs: Tensor) -> Rotary | None:  # noqa: ARG002
        """Return the rotary positions of whole patches ``(B, 3, h p, w p)``; ``None`` if a family has others."""
        return None

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the patch tokens ``F`` of the blocks that are read, ``(B, h * w, D)``; see ``read``."""
        return self.read(inputs).patches

    def read(self, inputs: Tensor) -> Reading:
        """Compute patch tokens and descriptors.

        Args:
            inputs: ``X``, ``(B, 3, H, W)``, normalized. Sides that are no multiple of the patch size are resized to
                the nearest multiple; position embeddings are interpolated to the grid.
        """
        inputs = self.to_whole_patches(inputs)
        hidden = self.embed(inputs)
        if self.first_norm is not None:
            hidden = self.first_norm(hidden)
        context = self._block_inputs(inputs)
        found = []
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, **context)
            if number in self.blocks:
                found.append(self.output(hidden)[:, self.prefix :])
        return Reading(torch.cat(found, dim=-1), self.describe(hidden))

    def output(self, hidden: Tensor) -> Tensor:
        """Return a block's output ``(B, T, W)`` in the form that ``backbone.tokens`` asks for."""
        if self.tokens == "norm":
            normed: Tensor = self.last_norm(hidden)
            return normed
        if self.tokens == "unit":
            unit: Tensor = F.normalize(hidden, dim=-1) * self.block_width**0.5
            return unit
        return hidden

    def describe(self, hidden: Tensor) -> Tensor:
        """Compute the descriptors ``(B, 2 W)`` of a block's raw output ``(B, T, W)``."""
        mean = F.normalize(hidden[:, self.prefix :].mean(1), dim=-1)
        first = F.normalize(hidden[:, 0], dim=-1) if self.prefix else mean
        return torch.cat([first, mean], dim=-1) / 2**0.5

    @property
    def last_norm(self) -> nn.LayerNorm:
        """The tower's last LayerNorm."""
        norm: nn.LayerNorm = self.vision.get_submodule(self.final_norm)
        return norm

    def _block_inputs(self, inputs: Tensor) -> Mapping[str, Any]:  # noqa: ARG002
        """Return what each block takes beside its tokens."""
        return {"attention_mask": None}

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode, even if the whole model is set to training mode."""
        return super().train(False)

    def tune(self, encoders: Tune) -> None:
        """Unfreeze encoders, except parts without effect on maps, such as the vision tower's last norm.

        Raises:
            ConfigError: A text encoder is asked for and there is none.
        """
        if encoders == "none":
            return
        if encoders != "image" and not self.text_width:
            raise ConfigError(
                f"training.tune is {encoders!r}", expected="none or image", got="a backbone without a text tower"
            )
        self._origin = self.sha256()
        unused = self.idle if self.tokens == "norm" else (*self.idle, f"vision.{self.final_norm}.")
        for name, parameter in self.named_parameters():
            tower = "image" if name.startswith("vision.") else "text"
            parameter.requires_grad_(encoders in (tower, "both") and not any(part in name for part in unused))

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
        """Normalize RGB pixel values 0..1, ``(B, 3, H, W)``, to the backbone's input ``X`` of the same shape."""
        return (images - self.mean) / self.std

    def grid(self, size: Sequence[float]) -> tuple[int, int]:
        """Compute the token grid ``(h, w)`` of an image of ``size`` ``(H, W)``."""
        height, width = (max(1, round(side / self.patch_size)) for side in size)
        return height, width

    def to_whole_patches(self, inputs: Tensor) -> Tensor:
        """Resize inputs ``(B, 3, H, W)`` to ``(B, 3, h p, w p)`` unless they already are whole patches."""
        whole = self.scaled_size(inputs.shape[-2:], 1.0)
        return inputs if tuple(inputs.shape[-2:]) == whole else resized(inputs, whole)

    def scaled_size(self, size: Sequence[int], scale: float) -> tuple[int, int]:
        """Return ``size`` ``(H, W)`` times a scale, as the nearest multiples of the patch size."""
        height, width = self.grid([scale * side for side in size])
        return height * self.patch_size, width * self.patch_size

    def sha256(self) -> str:
        """Compute the hash of all used weights and of the normalization in float32, independent of file and dtype."""
        digest = hashlib.sha256()
        for name, tensor in sorted((self.state_dict() | dict(self.named_buffers(recurse=False))).items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
        return digest.hexdigest()


def resized(inputs: Tensor, size: Sequence[int]) -> Tensor:
    """Resize ``(B, 3, H, W)`` to ``size`` bilinearly, antialiased."""
    return F.interpolate(inputs, size=list(size), mode="bilinear", align_corners=False, antialias=True)
