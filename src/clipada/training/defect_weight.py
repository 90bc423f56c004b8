"""Weight of what was learned from known defects: each photo is judged by what the others have taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.evaluation.metrics import average_precision
from clipada.models.filter import SCALE
from clipada.models.memory_head import MemoryHead
from clipada.training.directions import NormalPatches

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0)
"""Weights that are tried."""

MOST_FOLDS = 20
"""Most groups of photos that are left out in turn."""

CLEAR = 0.002
"""Most that the sum of image AUROC and average precision may be below its best with the weight that is taken."""

ALLOWED_LOSS = 0.002
"""Most image AUROC that kinds of defects may lose that were left out as a whole."""


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """Images of a product as its memory sees them.

    Attributes:
        tokens: ``(m, N, D)`` float16, of unit length in each block.
        evidence: Evidence of the memory alone, ``(m, 4 h, 4 w)``.
        inside: Regions of interest in the images, where they are not the product's, ``(m, H, W)`` bool.
    """

    tokens: Tensor
    evidence: Tensor
    inside: Tensor | None = None


class Judged(NamedTuple):
    """Photos judged with each weight.

    Attributes:
        auroc: Image AUROC of each photo beside the good images, ``(m, weights)``; NaN where nothing could be learned.
        precision: Average precision of a photo's patches that show the defect; NaN also where these are not known.
    """

    auroc: NDArray[np.float64]
    precision: NDArray[np.float64]

    @property
    def objective(self) -> NDArray[np.float64]:
        """Return what a weight should raise, ``(weights,)``: mean image AUROC plus mean average precision."""
        total = np.zeros(len(WEIGHTS))
        for part in self:
            if np.isfinite(part).any():
                total += np.nanmean(part, axis=0)
        return total


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judge of photos of defects by what other photos have taught.

    Attributes:
        head: The memory's detector.
        number: Number of the product.
        normal: Normal patches of the product.
        good: Its good images, searched without their own rows.
        photos: Its photos of defects.
        cells: The patches that were taken for the defects, ``(m, N)`` bool.
        marked: True for the photos whose patches are known from a mask.
    """

    head: MemoryHead
    number: int
    normal: NormalPatches
    good: SeenImages
    photos: SeenImages
    cells: Tensor
    marked: Sequence[bool]

    def choose(self, kinds: Sequence[str]) -> tuple[int, Judged]:
        """Choose a weight by its place in ``WEIGHTS``, and return how photos were judged with each.

        Args:
            kinds: The kind of each photo's defect.
        """
        photos = len(kinds)
        judged = self.judge([place % min(MOST_FOLDS, photos) for place in range(photos)])
        allowed = np.ones(len(WEIGHTS), np.bool_)
        if len(names := sorted(set(kinds))) > 1:
            left_out = np.nanmean(self.judge([names.index(kind) for kind in kinds]).auroc, axis=0)
            allowed = left_out >= left_out[0] - ALLOWED_LOSS
        return chosen(judged.objective, allowed), judged

    def judge(self, folds: Sequence[int]) -> Judged:
        """Judge the photos of each fold by what those of all other folds have taught."""
        shape = (len(folds), len(WEIGHTS))
        auroc, precision = np.full(shape, np.nan), np.full(shape, np.nan)
        numbers = torch.tensor(folds)
        for fold in sorted(set(folds)):
            others = self.cells & (numbers != fold)[:, None]
            if not others.any():
                continue
            direction = self.normal.toward(self.photos.tokens[others])
            own = (numbers == fold).nonzero().flatten()
            good = self.placed(direction.good, self.good.inside)
            added = self.placed(direction.gain(self.photos.tokens[own]))
            for column, weight in enumerate(WEIGHTS):
                usual = self.head.pooled(self.good.evidence + weight * good)
                evidence = self.photos.evidence[own] + weight * added
                auroc[own.numpy(), column] = beaten(self.head.pooled(evidence), usual)
                for place, one in zip(own.tolist(), evidence, strict=True):
                    if self.marked[place] and self.cells[place].any():
                        patches = F.avg_pool2d(one[None, None], SCALE).flatten().numpy()
                        precision[place, column] = average_precision(patches, self.cells[place].numpy())
        return Judged(auroc, precision)

    def placed(self, gains: Tensor, inside: Tensor | None = None) -> Tensor:
        """Place gains of patches ``(b, N)`` in the map, ``(b, 4 h, 4 w)``; ``inside`` as for ``MemoryHead``."""
        return self.head.gain(gains, torch.full((len(gains),), self.number), inside)


def beaten(scores: Tensor, good: Tensor) -> NDArray[np.float64]:
    """Return the share of good images' scores ``(n,)`` that each score ``(m,)`` exceeds, a tie counting half."""
    above, equal = scores[:, None] > good, scores[:, None] == good
    return (above + 0.5 * equal).mean(dim=1).double().numpy()


def chosen(objective: NDArray[np.float64], allowed: NDArray[np.bool_]) -> int:
    """Return the place of the best weight that is allowed, or of the highest one that is hardly worse; 0 gives nothing.

    New good parts are farther from the memory than those it was built with, but not farther along a direction: photos
    judged beside the latter underestimate the gain.

    Args:
        objective: What a weight should raise, ``(weights,)``.
        allowed: The weights that may be taken, ``(weights,)``; the first always may.
    """
    places = [place for place in range(len(objective)) if allowed[place] or not place]
    best = max(objective[place] for place in places)
    place = max(place for place in places if objective[place] >= best - CLEAR)
    return place if best > objective[0] + CLEAR else 0
