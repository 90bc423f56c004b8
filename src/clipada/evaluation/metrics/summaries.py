"""Compression of any number of scores into few: lower and upper bounds that nearly keep the ranks.

Neighboring scores of one class are merged into steps. The upper bound moves every score of a step to the step's highest
value, the lower bound to its lowest; the number of scores stays. Steps are measured in ranks, not in values, so that
the error is the same for any distribution: a moved score passes at most a share ``NORMAL_ERROR`` of the normal scores
above it, or ``8 / ANOMALOUS_POINTS`` of the anomalous ones. For normal scores the share is relative to the rank because
precision depends on the few false positives at the top: they are moved least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.evaluation.metrics.ranking import ClassScores, ScoreCounter

NORMAL_ERROR = 2e-5
"""Share of the normal scores above it that a normal score may pass when it is moved."""

ANOMALOUS_POINTS = 2**19
"""Largest number of distinct anomalous scores in a summary."""


@dataclass(frozen=True)
class ScoreBounds:
    """Upper and lower bounds of the scores of one class; the same object if no score was moved."""

    upper: ClassScores
    lower: ClassScores

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.upper.nbytes + (0 if self.lower is self.upper else self.lower.nbytes)

    @property
    def displaced(self) -> int:
        """Largest number of scores that were moved past one value: those above it among the upper bounds alone."""
        if self.lower is self.upper:
            return 0
        places = np.unique(self.upper.values)
        upper, lower = (ScoreCounter(points).count(places, "left") for points in (self.upper, self.lower))
        return int((upper - lower).max())

    @classmethod
    def concatenated(cls, parts: list[ScoreBounds]) -> ScoreBounds:
        """Return the bounds of all parts; no score is moved."""
        upper = ClassScores.concatenated([part.upper for part in parts])
        if all(part.lower is part.upper for part in parts):
            return cls(upper, upper)
        return cls(upper, ClassScores.concatenated([part.lower for part in parts]))


@dataclass(frozen=True)
class Summary:
    """Bounds of the scores of some pixels, by class."""

    normal: ScoreBounds
    anomalous: ScoreBounds

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.normal.nbytes + self.anomalous.nbytes

    @classmethod
    def of(cls, normal: ClassScores, anomalous: ClassScores) -> Summary:
        """Compress the scores of pixels."""
        return cls(ScoreBounds(normal, normal), ScoreBounds(anomalous, anomalous)).compressed()

    @classmethod
    def concatenated(cls, parts: list[Summary]) -> Summary:
        """Return the summary of the pixels of all parts; no score is moved."""
        return cls(
            ScoreBounds.concatenated([part.normal for part in parts]),
            ScoreBounds.concatenated([part.anomalous for part in parts]),
        )

    def compressed(self) -> Summary:
        """Return the same pixels with fewer distinct scores."""
        return Summary(_compress_normal(self.normal), _compress_anomalous(self.anomalous))


def _compress_normal(bounds: ScoreBounds) -> ScoreBounds:
    """Merge normal scores in steps whose size is proportional to their rank."""
    if not bounds.upper.values.size:
        return bounds
    if bounds.upper.counts is None:
        descending = np.sort(bounds.upper.values)[::-1]
        edges = normal_edges(descending.size)
        counts = np.diff(edges)
        return ScoreBounds(
            ClassScores(descending[edges[:-1]].copy(), counts), ClassScores(descending[edges[1:] - 1].copy(), counts)
        )
    edges = normal_edges(int(bounds.upper.counts.sum()))
    upper, lower = (_sorted_descending(points) for points in (bounds.upper, bounds.lower))
    return ScoreBounds(
        _merged_steps(upper, np.cumsum(upper.counted), edges, up=True),
        _merged_steps(lower, np.cumsum(lower.counted), edges, up=False),
    )


def normal_edges(size: int) -> NDArray[np.int64]:
    """Return the ranks, 0..``size``, where steps begin; a step is at most ``NORMAL_ERROR`` of its rank or one score."""
    steps = np.log(max(1.0, size * NORMAL_ERROR)) / np.log1p(NORMAL_ERROR)
    first = np.arange(min(size, int(1 / NORMAL_ERROR)))
    ranks = np.exp(np.arange(int(steps) + 1) * np.log1p(NORMAL_ERROR)) / NORMAL_ERROR
    later = np.ceil(ranks[ranks < size]).astype(np.int64)
    edges = np.concatenate((first, later, [size]))
    return edges[np.diff(edges, prepend=-1) > 0]


def _compress_anomalous(bounds: ScoreBounds) -> ScoreBounds:
    """Merge anomalous scores in steps of equal shares, by number and by regions; few scores stay as they are."""
    if bounds.upper.values.size <= ANOMALOUS_POINTS:
        return bounds
    edges = np.linspace(0, 1, ANOMALOUS_POINTS // 2)
    upper, lower = (_sorted_descending(points) for points in (bounds.upper, bounds.lower))
    return ScoreBounds(
        _merged_steps(upper, _class_share(upper), edges, up=True),
        _merged_steps(lower, _class_share(lower), edges, up=False),
    )


def _class_share(points: ClassScores) -> NDArray[np.float64]:
    """Return the cumulative share of the class at each score: the mean of the shares of pixels and of regions."""
    parts = [np.cumsum(part) for part in (points.counted, points.weights) if part is not None]
    share: NDArray[np.float64] = np.mean([part / part[-1] for part in parts], axis=0)
    return share


def _sorted_descending(points: ClassScores) -> ClassScores:
    """Sort the scores from highest to lowest."""
    order = np.argsort(points.values)[::-1]
    weights = None if points.weights is None else points.weights[order]
    return ClassScores(points.values[order], points.counted[order], weights)


def _merged_steps(
    points: ClassScores, through: NDArray[np.int64] | NDArray[np.float64], edges: NDArray[np.generic], *, up: bool
) -> ClassScores:
    """Move all scores of a step to the highest, or to the lowest, of them.

    A value that stands for scores on both sides of an edge is a step of its own: it is not moved, and no score is moved
    past it.

    Args:
        points: Scores in descending order.
        through: ``(N,)``: cumulative amount of the class up to and including each value.
        edges: Edges of the steps, from 0 on, in the unit of ``through``.
        up: True to move to the highest, false to move to the lowest.
    """
    begins = np.concatenate(([1], np.searchsorted(edges, through[:-1], side="right")))
    ends = np.searchsorted(edges, through, side="left")
    step = begins + ends  # neither term ever falls, so the sum is equal only for values inside one step
    first = np.flatnonzero(np.diff(step, prepend=0))
    last = np.append(first[1:], step.size) - 1
    return ClassScores(
        values=points.values[first if up else last],
        counts=np.add.reduceat(points.counted, first),
        weights=None if points.weights is None else np.add.reduceat(points.weights, first),
    )
