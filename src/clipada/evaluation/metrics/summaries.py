"""Scores of any number in few points: each moved up, or down, past a bounded share of the scores of its class.

How far a score moves is a matter of ranks, hence the same for any distribution: it passes at most ``NORMAL_ERROR`` of
the normal scores above it (the few false positives at the top, which precision hangs on, move least), or
``8 / ANOMALOUS_POINTS`` of the anomalous ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.evaluation.metrics.ranking import Above, Points

NORMAL_ERROR = 2e-5
"""The share of the normal scores above it that a normal score may pass when it is moved."""

ANOMALOUS_POINTS = 2**19
"""The most distinct anomalous scores in a summary."""


@dataclass(frozen=True)
class Moved:
    """The scores of one class, moved up and moved down; the same object if they were not moved."""

    raised: Points
    lowered: Points

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.raised.nbytes + (0 if self.lowered is self.raised else self.lowered.nbytes)

    @property
    def passed(self) -> int:
        """How many scores any place has been passed by, at most: all that are above it raised, but not lowered."""
        if self.lowered is self.raised:
            return 0
        places = np.unique(self.raised.values)
        raised, lowered = (Above(points).count(places, "left") for points in (self.raised, self.lowered))
        return int((raised - lowered).max())

    @classmethod
    def joined(cls, parts: list[Moved]) -> Moved:
        """The scores of several, moved no further."""
        raised = Points.joined([part.raised for part in parts])
        if all(part.lowered is part.raised for part in parts):
            return cls(raised, raised)
        return cls(raised, Points.joined([part.lowered for part in parts]))


@dataclass(frozen=True)
class Summary:
    """Both classes of some pixels."""

    normal: Moved
    anomalous: Moved

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.normal.nbytes + self.anomalous.nbytes

    @classmethod
    def of(cls, normal: Points, anomalous: Points) -> Summary:
        """Summarize pixels."""
        return cls(Moved(normal, normal), Moved(anomalous, anomalous)).coarser()

    @classmethod
    def joined(cls, parts: list[Summary]) -> Summary:
        """The pixels of several, moved no further."""
        return cls(Moved.joined([part.normal for part in parts]), Moved.joined([part.anomalous for part in parts]))

    def coarser(self) -> Summary:
        """The same pixels, moved until few distinct scores remain."""
        return Summary(_coarser_normal(self.normal), _coarser_anomalous(self.anomalous))


def _coarser_normal(moved: Moved) -> Moved:
    """Normal scores in steps that grow with the number of scores above."""
    if not moved.raised.values.size:
        return moved
    if moved.raised.counts is None:
        falling = np.sort(moved.raised.values)[::-1]
        edges = normal_edges(falling.size)
        counts = np.diff(edges)
        return Moved(Points(falling[edges[:-1]].copy(), counts), Points(falling[edges[1:] - 1].copy(), counts))
    edges = normal_edges(int(moved.raised.counts.sum()))
    raised, lowered = (_falling(points) for points in (moved.raised, moved.lowered))
    return Moved(
        _gathered(raised, np.cumsum(raised.counted), edges, up=True),
        _gathered(lowered, np.cumsum(lowered.counted), edges, up=False),
    )


def normal_edges(size: int) -> NDArray[np.int64]:
    """Ranks, from 0 to ``size``, at which steps begin: each step at most ``NORMAL_ERROR`` of the rank, or one score."""
    steps = np.log(max(1.0, size * NORMAL_ERROR)) / np.log1p(NORMAL_ERROR)
    first = np.arange(min(size, int(1 / NORMAL_ERROR)))
    ranks = np.exp(np.arange(int(steps) + 1) * np.log1p(NORMAL_ERROR)) / NORMAL_ERROR
    later = np.ceil(ranks[ranks < size]).astype(np.int64)
    edges = np.concatenate((first, later, [size]))
    return edges[np.diff(edges, prepend=-1) > 0]


def _coarser_anomalous(moved: Moved) -> Moved:
    """Anomalous scores in steps of equal shares of the class, by number and by regions; as they are if they are few."""
    if moved.raised.values.size <= ANOMALOUS_POINTS:
        return moved
    edges = np.linspace(0, 1, ANOMALOUS_POINTS // 2)
    raised, lowered = (_falling(points) for points in (moved.raised, moved.lowered))
    return Moved(
        _gathered(raised, _class_share(raised), edges, up=True),
        _gathered(lowered, _class_share(lowered), edges, up=False),
    )


def _class_share(points: Points) -> NDArray[np.float64]:
    """The share of the class down to each point: the mean of that of the pixels and that of the regions."""
    parts = [np.cumsum(part) for part in (points.counted, points.weights) if part is not None]
    share: NDArray[np.float64] = np.mean([part / part[-1] for part in parts], axis=0)
    return share


def _falling(points: Points) -> Points:
    """Points from the highest to the lowest."""
    order = np.argsort(points.values)[::-1]
    weights = None if points.weights is None else points.weights[order]
    return Points(points.values[order], points.counted[order], weights)


def _gathered(
    points: Points, through: NDArray[np.int64] | NDArray[np.float64], edges: NDArray[np.generic], *, up: bool
) -> Points:
    """Move the points between two edges to the highest, or the lowest, of them.

    A point that reaches over an edge stays by itself: it moves none, and none moves past it.

    Args:
        points: Falling.
        through: ``(N,)``: how much of the class there is down to each point, itself included.
        edges: Where steps begin, from 0 on, in the same measure.
        up: Whether to the highest.
    """
    begins = np.concatenate(([1], np.searchsorted(edges, through[:-1], side="right")))
    ends = np.searchsorted(edges, through, side="left")
    step = begins + ends  # the same for points within one step alone: both parts rise, together only past an edge
    first = np.flatnonzero(np.diff(step, prepend=0))
    last = np.append(first[1:], step.size) - 1
    return Points(
        values=points.values[first if up else last],
        counts=np.add.reduceat(points.counted, first),
        weights=None if points.weights is None else np.add.reduceat(points.weights, first),
    )
