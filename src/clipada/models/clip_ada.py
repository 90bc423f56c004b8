"""CLIP-ADA (arXiv 2403.09493), top to bottom: a coarse map, then refinement passes weighted by the last map."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.config import Config, ModelConfig
from clipada.errors import ConfigError
from clipada.models.backbones import Backbone, TextBackbone, load_backbone, resized, with_defaults
from clipada.models.memory_head import Detection, MemoryHead, View
from clipada.models.prompt import DirectionVector, Prompt
from clipada.models.prototypes import Prototypes
from clipada.randomness import derived_generator

BACKBONE, SAVED_BACKBONE = "backbone.", "clip."
"""Prefix of the names of the backbone's own parameters, in the model and in files."""

HEAD = "head."
"""Prefix of the names of the parameters of the detector over a memory."""


class ForwardPass(NamedTuple):
    """The outputs of a forward pass over a batch.

    Attributes:
        logits: ``R + 1`` tensors ``S_i``, ``(B, h, w)``, coarse first; ``sigmoid(S_i)`` is the anomaly probability
            ``M_i``. With a memory, its offset ``w u(F_0)`` is added to each at the end, so that it weights no pass.
        descriptors: One vector of unit length for each image, as ``Backbone.read`` computes them, ``(B, 2 W)``.
        detection: The output of the memory's detector, if the model has one; then it counts instead of the logits.
    """

    logits: list[Tensor]
    descriptors: Tensor
    detection: Detection | None = None

    def maps(self, size: tuple[int, ...] | torch.Size) -> Tensor:
        """Return the raw anomaly maps of every pass at the input's size ``(H, W)``, ``(P, B, H, W)``, values 0..1."""
        if self.detection is not None:
            return self.detection.maps.float().unsqueeze(0)
        return torch.stack([upsample(logits.float().sigmoid(), size) for logits in self.logits])


class ClipAda(nn.Module):
    """A frozen backbone (or one whose encoders are tuned), one anomaly direction and a projection per pass.

    Shapes: ``B`` images of ``H x W`` pixels, token grid ``h x w``, token width ``D``, embedding width ``E``.

    Args:
        backbone: The frozen backbone: CLIP in the paper.
        prompt: The anomaly direction: the prompt, in the same backbone's words, or a vector.
        projections: One linear layer ``D -> E`` for each pass, coarse first.
        similarity: Projected tokens and text vector to logits.
        config: Passes, attention, and the memory's weight.
        memory: Typical patches of normal images, if the model has any.
        head: The detector over a memory of good parts, if the model has one.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt | DirectionVector,
        projections: nn.ModuleList,
        similarity: DotSimilarity | CosineSimilarity,
        config: ModelConfig,
        memory: Prototypes | None = None,
        head: MemoryHead | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.prompt = prompt
        self.projections = projections
        self.similarity = similarity
        self.config = config
        self.memory = memory
        self.head = head

    def forward(self, images: Tensor, text: Tensor | None = None) -> list[Tensor]:
        """Compute the logits of every pass, coarse first; see ``ForwardPass``.

        Args:
            images: RGB pixel values 0..1, ``(B, 3, H, W)``.
            text: ``t_hat``, ``(E,)``, if it was computed before; it does not depend on the images.
        """
        return self.run(images, text).logits

    def run(
        self,
        images: Tensor,
        text: Tensor | None = None,
        products: Tensor | None = None,
        inside: Tensor | None = None,
    ) -> ForwardPass:
        """Compute the logits of every pass as ``forward`` does, descriptors, and with a head its detection.

        Args:
            images: As for ``forward``.
            text: As for ``forward``.
            products: The product of each image, as for ``MemoryHead``.
            inside: The region of interest in each image, as for ``MemoryHead``.
        """
        text = self.text_vector() if text is None else text
        if self.head is not None:
            return self.detect(images, text, products, self.head, inside)
        height, width = self.backbone.grid(images.shape[-2:])
        coarse = self.backbone.read(self.backbone.normalize(images))
        tokens = coarse.patches  # F_0
        passes: list[Tensor] = []
        for projection in self.projections:
            if passes:
                tokens = self.backbone(self.attend(images, passes[-1].sigmoid()))  # F_i of X_i
            logits = self.similarity(projection(tokens), text)  # S_i = V_i t_hat
            passes.append(logits.unflatten(1, (height, width)))
        if self.memory is not None:
            offset = self.config.prototype_weight * self.memory(coarse.patches).reshape(-1, height, width)
            passes = [logits + offset for logits in passes]
        return ForwardPass(passes, coarse.descriptors)

    def detect(
        self, images: Tensor, text: Tensor, products: Tensor | None, head: MemoryHead, inside: Tensor | None = None
    ) -> ForwardPass:
        """Compute the output of a model with a head; see ``run``."""
        size = self.backbone.scaled_size(images.shape[-2:], head.glance)
        whole = self.view(images if head.one_view else resized(images, size), text)
        products = head.resolve(whole.reading.descriptors, products)
        part = whole if head.one_view else self.view(head.crops.cut(images, products), text)
        logits = part.logits.reshape(-1, *head.crops.grid)
        return ForwardPass([logits], whole.reading.descriptors, head(part, whole, products, inside))

    def view(self, images: Tensor, text: Tensor) -> View:
        """Read images ``(B, 3, H, W)`` with their coarse logits ``S_0``."""
        reading = self.backbone.read(self.backbone.normalize(images))
        return View(reading, self.similarity(self.projections[0](reading.patches), text))

    def text_vector(self) -> Tensor:
        """Compute the anomaly direction, the embedded prompt, at unit length: ``t_hat = t / |t|``, ``(E,)``."""
        return F.normalize(self.prompt(self.backbone), dim=-1)

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
            return self.backbone.normalize(images * gain)
        return self.backbone.normalize(images) * gain

    def with_memory(self, memory: Prototypes) -> ClipAda:
        """Return the same model with a memory; all other parts are shared."""
        return ClipAda(self.backbone, self.prompt, self.projections, self.similarity, self.config, memory, self.head)

    def with_head(self, head: MemoryHead) -> ClipAda:
        """Return the same model with a detector over a memory of good parts; all other parts are shared."""
        return ClipAda(self.backbone, self.prompt, self.projections, self.similarity, self.config, self.memory, head)

    @property
    def passes(self) -> int:
        """Number of maps: the coarse one and the refined ones; one for a model with a head."""
        return 1 if self.head is not None else len(self.projections)

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by their names in files: all of the adapter, and the tuned encoders."""
        learned = {name: value for name, value in self.named_parameters() if value.requires_grad}
        return {
            SAVED_BACKBONE + name.removeprefix(BACKBONE) if name.startswith(BACKBONE) else name: value
            for name, value in learned.items()
        }

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters of prompt, projections and similarity, by name."""
        others = (SAVED_BACKBONE, HEAD)
        return {name: value for name, value in self.trained_parameters().items() if not name.startswith(others)}

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters of the backbone by name; none unless ``training.tune`` names an encoder."""
        return {name: value for name, value in self.trained_parameters().items() if name.startswith(SAVED_BACKBONE)}


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


def build_model(config: Config, backbone: Backbone | None = None, memory: Prototypes | None = None) -> ClipAda:
    """Build the untrained model of a config; first values follow from ``config.training.seed``.

    Args:
        config: All settings.
        backbone: A loaded backbone; by default ``config.backbone`` is loaded.
        memory: Typical patches of normal images, if they are known.
    """
    backbone = load_backbone(with_defaults(config).backbone) if backbone is None else backbone
    backbone.tune(config.training.tune)
    generator = derived_generator(config.training.seed, "initial values")
    prompt = build_direction(backbone, config, generator)
    projections = nn.ModuleList(
        _linear(backbone.width, backbone.embedding_width, generator) for _ in range(config.model.refinements + 1)
    )
    similarity = CosineSimilarity() if config.model.similarity == "cosine" else DotSimilarity()
    return ClipAda(backbone, prompt, projections, similarity, config.model, memory)


def build_direction(backbone: Backbone, config: Config, generator: torch.Generator) -> Prompt | DirectionVector:
    """Build the anomaly direction: the prompt where the backbone has a text tower, unless the settings ask otherwise.

    Raises:
        ConfigError: The settings ask for a prompt and there is no text tower.
    """
    text = isinstance(backbone, TextBackbone)
    if config.prompt.direction == "text" and not text:
        raise ConfigError(
            "prompt.direction is 'text'",
            expected="vector, or a backbone with a text tower",
            got=f"a backbone of type {backbone.vision.config.model_type}",
        )
    if isinstance(backbone, TextBackbone) and config.prompt.direction != "vector":
        return Prompt(backbone, config.prompt, generator)
    return DirectionVector(backbone.embedding_width, config.prompt, generator)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Build a linear layer with PyTorch's own distribution of first values, ``U(+-1 / sqrt(inputs))``, seeded."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
