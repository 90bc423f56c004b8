"""Common base of the baselines: a detector, and the engine that makes it interchangeable with CLIP-ADA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clipada.config import ImageSize
from clipada.config.image_rules import DEFAULT_RULES
from clipada.devices import to_tensor
from clipada.images.roi import RegionsOfInterest
from clipada.types import Localization


@dataclass(frozen=True)
class DetectorOutput:
    """Output of a detector for a batch.

    Attributes:
        maps: ``(B, S, S)``, values 0..1: the higher, the more anomalous.
        scores: ``(B,)``, values 0..1: the image scores as defined in the baseline's own paper.
    """

    maps: Tensor
    scores: Tensor


class Detector(nn.Module, ABC):
    """A fitted baseline."""

    @abstractmethod
    def forward(self, images: Tensor) -> DetectorOutput:
        """Return maps and scores of RGB images ``(B, 3, S, S)``, values 0..1."""

    def __call__(self, images: Tensor) -> DetectorOutput:
        """Call ``forward``; typed."""
        output: DetectorOutput = super().__call__(images)
        return output


class BaselineEngine:
    """Adapter from a detector to the ``Engine`` protocol, usable wherever an engine of CLIP-ADA is.

    Args:
        detector: A fitted baseline.
        image_size: Side ``S`` of the square input, or its height and width, in pixels.
        device: Device of the computation.
        paper_scores: True if a first pass returns the paper's own image score, as a map with this value everywhere:
            smoothing and the mean of the top pixels do not change it. The last pass is the final map in any case.
        sigma: Gaussian of the baseline's own recipe, in the unit of ``ScoringConfig.sigma``; ``None`` for its default.
    """

    def __init__(
        self,
        detector: Detector,
        image_size: ImageSize,
        device: torch.device,
        *,
        paper_scores: bool = False,
        sigma: float | None = None,
    ) -> None:
        self.detector = detector.to(device).eval()
        self.size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.sigma = sigma
        self.rules = DEFAULT_RULES
        self.regions: RegionsOfInterest | None = None
        self.device = device
        self.passes = 2 if paper_scores else 1

    def with_paper_scores(self) -> BaselineEngine:
        """Return the same baseline with its paper's image score as pass 0 and its map as pass 1."""
        engine = BaselineEngine(self.detector, self.size, self.device, paper_scores=True, sigma=self.sigma)
        engine.rules, engine.regions = self.rules, self.regions
        return engine

    @torch.inference_mode()
    def localize(self, images: NDArray[np.uint8]) -> Localization:
        """Compute the raw maps of every pass of images ``(B, S, S, 3)`` uint8, RGB; there are no descriptors."""
        output = self.detector(to_tensor(images, self.device))
        passes = [output.maps]
        if self.passes == 2:
            passes.insert(0, output.scores.view(-1, 1, 1).expand_as(output.maps))
        return Localization(maps=torch.stack(passes).float().cpu().numpy())


def to_unit(values: Tensor, knee: float | Tensor) -> Tensor:
    """Map values of range ``[0, inf)`` to ``[0, 1)``, preserving their order.

    ``v / (2 k)`` up to the knee ``k``, ``1 - k / (2 v)`` beyond it. A map below the knee is therefore only scaled:
    smoothing or averaging before or after gives the same result, unlike with ``v / (1 + v)``.
    """
    return torch.where(values <= knee, values / (2 * knee), 1 - knee / (2 * values.clamp(min=torch.finfo().tiny)))
