"""Ranking of normal against anomalous scores: the one place where every metric is computed, ties included.

Every curve here rises only where the threshold passes an anomalous score. So the distinct anomalous scores are the only
thresholds needed: at each, a binary search in the sorted normal scores counts the false positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
"""Anomaly scores of any shape: finite, the higher, the more anomalous."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; equal scores may be stored once with their number.

    Attributes:
        values: ``(N,)``, in any order; may repeat.
        counts: ``(N,)``: number of scores that each value stands for; ``None`` if each stands for one.
        weights: ``(N,)``: contribution to the mean per-region overlap, up to a constant factor; ``None`` if it equals
            the counts.
    """

    values: Scores
    counts: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None

    @classmethod
    def concatenated(cls, parts: Sequence[ClassScores]) -> Self:
        """Return the scores of all parts; either all parts have weights or none has."""
        if len(parts) == 1:
            return cls(parts[0].values, parts[0].counts, parts[0].weights)
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            values=np.concatenate([part.values for part in parts]),
            counts=np.concatenate([part.counted for part in parts]),
            weights=np.concatenate(weights) if weights else None,
        )

    @property
    def counted(self) -> NDArray[np.int64]:
        """Counts as an array, also if each value stands for one score."""
        return np.ones(self.values.size, np.int64) if self.counts is None else self.counts

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(part.nbytes for part in (self.values, self.counts, self.weights) if part is not None)


@dataclass(frozen=True)
class Ranking:
    """Counts of normal and anomalous scores at the K distinct anomalous scores ``t``, highest first.

    Attributes:
        hits: ``(K,)``: number of anomalous scores equal to ``t``.
        overlap: ``(K,)``: their contribution to the mean per-region overlap, up to a constant factor.
        above: ``(K,)``: number of normal scores greater than ``t``.
        false: ``(K,)``: number of normal scores greater than or equal to ``t``: the false positives at ``t``.
        normal: Number of normal scores.
    """

    hits: NDArray[np.int64]
    overlap: NDArray[np.float64]
    above: NDArray[np.int64]
    false: NDArray[np.int64]
    normal: int

    @classmethod
    def of(cls, normal: ClassScores, anomalous: ClassScores) -> Self:
        """Rank two classes; neither may be empty."""
        thresholds, step = np.unique(anomalous.values, return_inverse=True)
        hits = np.bincount(step, anomalous.counts)[::-1].astype(np.int64)
        overlap = hits if anomalous.weights is None else np.bincount(step, anomalous.weights)[::-1]
        ordered = ScoreCounter(normal)
        return cls(
            hits=hits,
            overlap=overlap.astype(np.float64),
            above=ordered.count(thresholds, "right")[::-1],
            false=ordered.count(thresholds, "left")[::-1],
            normal=ordered.total,
        )

    def area(self, limit: float, per_region: bool = False) -> float:
        """Integrate the true positive rate, or the overlap, over false positive rates 0..limit, and divide by limit.

        Step ``k`` raises the curve by ``w_k`` while the false positive rate goes linearly from ``a_k`` to ``b_k`` (they
        differ if normal scores tie with ``t``). A rise at rate ``x`` adds area over ``x..limit``, so step ``k`` adds
        ``w_k * mean(max(limit - x, 0))`` over ``x`` in ``a_k..b_k``.

        Args:
            limit: Highest false positive rate of the integral, above 0, up to 1.
            per_region: True for the per-region overlap (AUPRO), false for the true positive rate (AUROC).
        """
        weights = self.overlap if per_region else self.hits
        left_a = np.maximum(limit - self.above / self.normal, 0)
        left_b = np.maximum(limit - self.false / self.normal, 0)
        width = (self.false - self.above) / self.normal
        inside = np.divide(left_a - left_b, width, out=np.ones_like(width), where=width > 0)
        return float(weights @ (inside * (left_a + left_b) / (2 * limit)) / weights.sum())

    def average_precision(self) -> float:
        """Return ``sum_k (R_k - R_{k-1}) P_k``, with recall ``R`` and precision ``P`` at each threshold."""
        true = np.cumsum(self.hits)
        return float(self.hits @ (true / (true + self.false)) / true[-1])

    def average_precision_lower_bound(self, displaced: int) -> float:
        """Return a lower bound of the average precision before anomalous scores were lowered.

        Lowering merges different scores into ties, and average precision credits every score of a tie with the
        precision at the end of the tie. A score that ranked higher before had fewer true positives before it, so its
        precision may have been lower. At most ``displaced`` scores were moved past any value, so only the first
        ``displaced`` scores of a tie can come from above it: they are credited with the precision at the first score of
        the tie.

        Args:
            displaced: Largest number of anomalous scores that were moved past any one value.
        """
        true = np.cumsum(self.hits)
        first = true - self.hits + 1
        early = np.minimum(self.hits, displaced)
        credit = early * first / (first + self.false) + (self.hits - early) * true / (true + self.false)
        return float(credit.sum() / true[-1])

    def average_precision_upper_bound(self, displaced: int) -> float:
        """Return an upper bound of the average precision before anomalous scores were raised.

        Raising may separate scores that were tied and all credited with the precision at the end of their tie. The last
        score of the tie, or one that was not moved, is among the next ``displaced`` scores, as no more than these were
        moved past any value. So each score is credited with the highest precision among them.

        Args:
            displaced: Largest number of anomalous scores that were moved past any one value.
        """
        true = np.cumsum(self.hits)
        end = np.searchsorted(true - self.hits, true + displaced)
        ranges = np.stack((np.arange(end.size), end), axis=1).ravel()
        precision = np.append(true / (true + self.false), 0.0)
        return float(self.hits @ np.maximum.reduceat(precision, ranges)[::2] / true[-1])

    def f1_max(self) -> float:
        """Return the highest F1 over all thresholds: one between anomalous scores would only add false positives."""
        true = np.cumsum(self.hits)
        return float((2 * true / (true + self.false + true[-1])).max())


class ScoreCounter:
    """Counter of the scores above given thresholds; sorts the scores once."""

    def __init__(self, points: ClassScores) -> None:
        self.cumulative: NDArray[np.int64] | None = None
        if points.counts is None:
            self.ordered = np.sort(points.values)
            self.total = int(points.values.size)
            return
        order = np.argsort(points.values)
        self.ordered = points.values[order]
        self.cumulative = np.concatenate(([0], np.cumsum(points.counts[order])))
        self.total = int(self.cumulative[-1])

    def count(self, thresholds: Scores, side: Any) -> NDArray[np.int64]:
        """Count the scores greater than each threshold (``"right"``), or greater than or equal to it (``"left"``)."""
        below = np.searchsorted(self.ordered, thresholds, side=side)
        return self.total - (below if self.cumulative is None else self.cumulative[below])
