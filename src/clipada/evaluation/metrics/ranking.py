"""Normal against anomalous scores, ranked: the one place where every figure is computed, ties included.

Every curve here rises only where an anomalous score is passed, so the distinct anomalous scores are all the thresholds
needed: at each, binary search among the sorted normal scores counts the false positives.
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
class Points:
    """The scores of one class, equal ones perhaps in one.

    Attributes:
        values: ``(N,)``, in any order, repeated or not.
        counts: ``(N,)``: how many scores each stands for; ``None`` if each is one.
        weights: ``(N,)``: what they add to the mean per-region overlap, up to a constant factor; ``None`` if as much as
            they count.
    """

    values: Scores
    counts: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Self:
        """All points of several, which all have weights or none has."""
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
        """The counts, written out."""
        return np.ones(self.values.size, np.int64) if self.counts is None else self.counts

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return sum(part.nbytes for part in (self.values, self.counts, self.weights) if part is not None)


@dataclass(frozen=True)
class Ranking:
    """Normal against anomalous scores at the K distinct anomalous scores ``t``, highest first.

    Attributes:
        hits: ``(K,)``: anomalous scores equal to ``t``.
        overlap: ``(K,)``: what they add to the mean per-region overlap, up to a constant factor.
        above: ``(K,)``: normal scores greater than ``t``.
        false: ``(K,)``: normal scores greater than or equal to ``t``.
        normal: Number of normal scores.
    """

    hits: NDArray[np.int64]
    overlap: NDArray[np.float64]
    above: NDArray[np.int64]
    false: NDArray[np.int64]
    normal: int

    @classmethod
    def of(cls, normal: Points, anomalous: Points) -> Self:
        """Rank two classes, neither of them empty."""
        thresholds, step = np.unique(anomalous.values, return_inverse=True)
        hits = np.bincount(step, anomalous.counts)[::-1].astype(np.int64)
        overlap = hits if anomalous.weights is None else np.bincount(step, anomalous.weights)[::-1]
        ordered = Above(normal)
        return cls(
            hits=hits,
            overlap=overlap.astype(np.float64),
            above=ordered.count(thresholds, "right")[::-1],
            false=ordered.count(thresholds, "left")[::-1],
            normal=ordered.total,
        )

    def area(self, limit: float, per_region: bool = False) -> float:
        """Area under the true positive rate, or the overlap, over false positive rates 0..limit, divided by limit.

        Step k lifts the curve by ``w_k`` while the rate runs evenly from ``a_k`` to ``b_k``, so it adds
        ``w_k * mean(max(limit - x, 0))`` over ``x`` in ``a_k..b_k``.
        """
        weights = self.overlap if per_region else self.hits
        left_a = np.maximum(limit - self.above / self.normal, 0)
        left_b = np.maximum(limit - self.false / self.normal, 0)
        width = (self.false - self.above) / self.normal
        inside = np.divide(left_a - left_b, width, out=np.ones_like(width), where=width > 0)
        return float(weights @ (inside * (left_a + left_b) / (2 * limit)) / weights.sum())

    def average_precision(self) -> float:
        """``sum_k (R_k - R_{k-1}) P_k``."""
        true = np.cumsum(self.hits)
        return float(self.hits @ (true / (true + self.false)) / true[-1])

    def least_average_precision(self, passed: int) -> float:
        """The least it can have been before up to ``passed`` anomalous scores were moved down past any place.

        Scores moved to one place now look tied, which credits each with the precision at the last of them. Of those at
        one place, only the first ``passed`` may have been above it: they are credited with the first one's.
        """
        true = np.cumsum(self.hits)
        first = true - self.hits + 1
        early = np.minimum(self.hits, passed)
        credit = early * first / (first + self.false) + (self.hits - early) * true / (true + self.false)
        return float(credit.sum() / true[-1])

    def most_average_precision(self, passed: int) -> float:
        """The most it can have been before up to ``passed`` anomalous scores were moved up past any place.

        Scores that were tied may be at several places now: each is credited with the highest precision among the next
        ``passed``, since the last that it was tied with, or one that stayed, is among them.
        """
        true = np.cumsum(self.hits)
        end = np.searchsorted(true - self.hits, true + passed)
        ranges = np.stack((np.arange(end.size), end), axis=1).ravel()
        precision = np.append(true / (true + self.false), 0.0)
        return float(self.hits @ np.maximum.reduceat(precision, ranges)[::2] / true[-1])

    def f1_max(self) -> float:
        """The highest F1: no other threshold beats the anomalous scores, as it adds false positives alone."""
        true = np.cumsum(self.hits)
        return float((2 * true / (true + self.false + true[-1])).max())


class Above:
    """Counts the scores above thresholds, from one sort of theirs."""

    def __init__(self, points: Points) -> None:
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
        """How many exceed each threshold (``"right"``), or reach it too (``"left"``)."""
        below = np.searchsorted(self.ordered, thresholds, side=side)
        return self.total - (below if self.cumulative is None else self.cumulative[below])
