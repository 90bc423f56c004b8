"""Detector over a memory: its distances, filtered or not, as a map and an image score. Beyond the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clipada.models.backbones import Reading
from clipada.models.crops import Crops
from clipada.models.filter import Filter, enlarged
from clipada.models.memory import PatchMemory, Retrieval


class Detection(NamedTuple):
    """The output for a batch of images.

    Attributes:
        maps: ``(B, H, W)``, values 0..1; 0 outside of a product's box.
        scores: Image scores, ``(B,)``, values 0..1.
        products: The products whose rows were searched, ``(B,)`` int64.
    """

    maps: Tensor
    scores: Tensor
    products: Tensor


class MemoryHead(nn.Module):
    """Memory, filter and image score.

    The evidence for a defect at a place is the filter's logit plus ``weight`` times the mean surprise of all blocks:
    the distance stays in the sum, so that what no synthetic anomaly resembles is still found. Without a filter the
    surprise alone is the evidence. The image's evidence is the mean of the highest ``share`` of the cells, before any
    smoothing.

    Args:
        bank: The memory of good parts.
        filter_net: The trained filter, if there is one.
        crops: The boxes of the input that are read, and the way back.
        weight: Weight of the surprise beside the filter's logit.
        share: Share of a map's cells in the image score, more than 0, at most 1.
        low: Evidence that becomes 0.
        knee: Evidence above ``low`` that becomes 1/2.
    """

    low: Tensor
    knee: Tensor

    def __init__(
        self,
        bank: PatchMemory,
        filter_net: Filter | None,
        crops: Crops,
        *,
        weight: float,
        share: float,
        low: float = 0.0,
        knee: float = 1.0,
    ) -> None:
        super().__init__()
        self.bank = bank
        self.filter = filter_net
        self.crops = crops
        self.weight = weight
        self.share = share
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("knee", torch.tensor(knee))

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products in the memory, in the order of their numbers."""
        return self.bank.products

    def resolve(self, descriptors: Tensor, products: Tensor | None) -> Tensor:
        """Return the product of each image, ``(B,)`` int64: as given, or found where it is -1 or ``None``."""
        found = self.bank.find_products(descriptors)
        return found if products is None else torch.where(products < 0, found, products)

    def forward(self, reading: Reading, logits: Tensor, products: Tensor) -> Detection:
        """Detect anomalies.

        Args:
            reading: Tokens of the part of each image that is read.
            logits: CLIP-ADA's logits of them, ``(B, N)``.
            products: The product of each image, ``(B,)`` int64.
        """
        evidence = self.evidence(self.bank(reading, products), logits, self.crops.grid)
        maps = self.crops.paste(self.to_unit(evidence), products)
        return Detection(maps, self.to_unit(self.pooled(evidence)), products)

    def evidence(self, found: Retrieval, logits: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute the evidence ``(B, 4 h, 4 w)`` of a memory's answer and CLIP-ADA's logits ``(B, N)``."""
        surprise = found.surprise[..., 0].mean(dim=2).reshape(-1, 1, *grid)
        distance = enlarged(surprise, grid).squeeze(1)
        if self.filter is None:
            return distance
        evidence: Tensor = self.filter(self.filter.channels(found, logits), grid) + self.weight * distance
        return evidence

    def pooled(self, evidence: Tensor) -> Tensor:
        """Return the mean of the highest cells of each map ``(B, 4 h, 4 w)``, ``(B,)``."""
        cells = evidence.flatten(1)
        return cells.topk(cell_count(cells.shape[1], self.share), dim=1).values.mean(dim=1)

    def to_unit(self, evidence: Tensor) -> Tensor:
        """Map evidence to 0..1, in the same order: linear up to the knee, where it is 1/2, ever flatter beyond."""
        above = (evidence - self.low).clamp_min(0)
        return torch.where(above <= self.knee, above / (2 * self.knee), 1 - self.knee / (2 * above.clamp_min(1e-6)))

    def memory_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the memory, the boxes and the scale of the evidence by name, as they are stored."""
        return self.bank.tensors() | {"boxes": self.crops.boxes, "low": self.low, "knee": self.knee}

    def scaled(self, low: float, knee: float) -> MemoryHead:
        """Return the same detector with another scale of its evidence."""
        return MemoryHead(self.bank, self.filter, self.crops, weight=self.weight, share=self.share, low=low, knee=knee)


def cell_count(cells: int, share: float) -> int:
    """Return the number of a map's ``cells`` in the image score, at least 1."""
    return max(1, round(share * cells))
