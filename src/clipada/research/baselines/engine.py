"""What the baselines have in common: a detector, and the engine that puts it in the place of the method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Findings:
    """What a detector says of a batch.

    Attributes:
        maps: ``(B, S, S)``, values 0..1: the higher, the more anomalous.
        scores: ``(B,)``, values 0..1: the image scores as the baseline's own paper takes them.
    """

    maps: Tensor
    scores: Tensor


class Detector(nn.Module, ABC):
    """A fitted baseline."""

    @abstractmethod
    def forward(self, images: Tensor) -> Findings:
        """Look at RGB images ``(B, 3, S, S)``, values 0..1."""

    def __call__(self, images: Tensor) -> Findings:
        """As ``forward``."""
        findings: Findings = super().__call__(images)
        return findings


class BaselineEngine:
    """A detector as an ``Engine``: everything that takes the method's engines takes it.

    Args:
        detector: A fitted baseline.
        image_size: Side ``S`` of the square it takes, in pixels.
        device: Where it works.
        paper_scores: Whether a first pass gives the paper's own image score, as a map that has this value everywhere:
            what smoothing and the mean of the top pixels leave as it is. The last pass, the map, counts as ever.
    """

    def __init__(
        self, detector: Detector, image_size: int, device: torch.device, *, paper_scores: bool = False
    ) -> None:
        self.detector = detector.to(device).eval()
        self.image_size = image_size
        self.device = device
        self.passes = 2 if paper_scores else 1

    def with_paper_scores(self) -> BaselineEngine:
        """The same baseline, with its paper's image score as pass 0 and its map as pass 1."""
        return BaselineEngine(self.detector, self.image_size, self.device, paper_scores=True)

    @torch.inference_mode()
    def localise_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)`` uint8.

        Returns:
            ``(passes, B, S, S)`` float32, values 0..1.
        """
        findings = self.detector(torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255)
        passes = [findings.maps]
        if self.passes == 2:
            passes.insert(0, findings.scores.view(-1, 1, 1).expand_as(findings.maps))
        return torch.stack(passes).float().cpu().numpy()


def to_unit(values: Tensor, knee: float | Tensor) -> Tensor:
    """Bring values of range ``[0, inf)`` to ``[0, 1)`` and keep their order.

    ``v / (2 k)`` up to the knee ``k``, ``1 - k / (2 v)`` beyond it. A map below the knee is therefore only scaled: to
    smooth or average it before or after is the same, as it would not be with ``v / (1 + v)``.
    """
    return torch.where(values <= knee, values / (2 * knee), 1 - knee / (2 * values.clamp(min=torch.finfo().tiny)))
