"""Filter that cleans the memory's answer: a small convolutional network. Beyond the paper.

A distance alone cannot tell an unusual patch of a good part from a defect. The filter sees the answer's neighborhood,
several blocks and neighbors, how far the row that was found usually is from others, and CLIP-ADA's own logits. From
synthetic anomalies it learns which answers are defects (compare RAID, arXiv 2602.19611). It sees distances and never
tokens, so that one filter serves all products, also those that are added later.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.models.memory import Retrieval

SCALE = 4
"""Resolution of the filter's map: cells along each side of a token."""

RANKS = (0, 1, 3, 7)
"""Neighbors whose distances the filter sees, counted from 0, as far as the memory has so many."""

_BIAS = -3.0
"""First logit: most patches are normal."""


class Filter(nn.Module):
    """Convolutional network over a memory's answer.

    Shapes: ``B`` images, token grid ``h x w``, ``N = h w`` patches, ``L`` blocks, ``C`` hidden channels.

    Args:
        blocks: ``L``.
        neighbors: Neighbors that the memory finds.
        width: ``C``.
        logits: True if it also sees CLIP-ADA's logits.
        generator: Source of the first values.
    """

    def __init__(self, blocks: int, neighbors: int, width: int, logits: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.ranks = [rank for rank in RANKS if rank < neighbors]
        self.logits = logits
        self.enter = nn.Conv2d(blocks * (len(self.ranks) + 2) + logits, width, 1)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, 1 + SCALE**2, 1)
        self._draw(generator)

    def forward(self, answers: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute logits ``(B, 4 h, 4 w)`` of answers ``(B, N, channels)``, as ``channels`` prepares them."""
        hidden = F.gelu(self.enter(answers.transpose(1, 2).reshape(answers.shape[0], -1, *grid)))
        hidden = hidden + F.gelu(self.first(hidden))
        hidden = hidden + F.gelu(self.second(hidden))
        coarse, fine = self.leave(hidden).split((1, SCALE**2), dim=1)
        return (enlarged(coarse + _BIAS, grid) + F.pixel_shuffle(fine, SCALE)).squeeze(1)

    def channels(self, found: Retrieval, logits: Tensor) -> Tensor:
        """Prepare the input channels of each patch.

        For each block: the damped surprise of some neighbors, the excess, and the nearest's surprise compared with the
        mean of the same image; then CLIP-ADA's logit.

        Args:
            found: The memory's answer.
            logits: CLIP-ADA's logits of the coarse pass, ``(B, N)``.

        Returns:
            ``(B, N, channels)``.
        """
        surprise = found.surprise[..., self.ranks]
        damped = surprise.sign() * surprise.abs().log1p()
        nearest = damped[..., :1]
        parts = [damped, found.excess.unsqueeze(-1), nearest - nearest.mean(dim=1, keepdim=True)]
        answers = torch.cat(parts, dim=3).flatten(2)
        return torch.cat([answers, logits.unsqueeze(2)], dim=2) if self.logits else answers

    def _draw(self, generator: torch.Generator) -> None:
        """Draw first values: PyTorch's own distributions, seeded; the last layer starts at 0."""
        for layer in (self.enter, self.first, self.second):
            bound = layer.weight[0].numel() ** -0.5
            for values in (layer.weight, cast("Tensor", layer.bias)):
                nn.init.uniform_(values, -bound, bound, generator=generator)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast("Tensor", self.leave.bias))


def enlarged(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize ``(B, C, h, w)`` bilinearly to the resolution of the filter's map, ``(B, C, 4 h, 4 w)``."""
    size = [SCALE * side for side in grid]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
