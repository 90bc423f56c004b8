"""Layout of a score histogram: positions of its bars, ticks and thresholds; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clipada.report.parts import Kind

BINS = 32
"""Number of bars across the range of the scores."""

NEAR = 1e-4
"""Share of the axis that is too small to be seen."""

LABEL = 16.0
"""Width of a label on a phone, in percent of the axis."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        start: Left edge, in percent of the axis.
        width: Width, in percent of the axis.
        share: Share of the parts of its kind, in percent.
        count: Number of parts.
    """

    start: float
    width: float
    share: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A threshold.

    Attributes:
        label: The score.
        place: Position, in percent of the axis.
        row: Row of the label, from 0: labels of near thresholds are stacked.
    """

    label: str
    place: float
    row: int


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Scores of one product's parts on one axis.

    Attributes:
        bars: The bars of each kind of part that are not empty.
        totals: Number of parts of each kind.
        ticks: Ticks of the score axis: label, and position in percent of the axis.
        tops: End of the share axis of each kind, in percent: bars of many different scores stay visible beside few.
        thresholds: Scores above which a part is defective.
    """

    bars: Mapping[Kind, tuple[Bar, ...]]
    totals: Mapping[Kind, int]
    ticks: tuple[tuple[str, float], ...]
    tops: Mapping[Kind, float]
    thresholds: tuple[Mark, ...]


def histogram(scores: Mapping[Kind, Sequence[float]], thresholds: Sequence[float] = ()) -> Histogram:
    """Lay out a histogram.

    Bars show shares, not counts, so that ten defects can be seen beside a thousand good parts.

    Args:
        scores: Finite scores of each kind of part; kinds without scores are left out.
        thresholds: Scores to mark.
    """
    scores = {kind: values for kind, values in scores.items() if len(values)}
    ticks = round_ticks([*thresholds, *(score for values in scores.values() for score in values)] or [0.0, 1.0])
    low, high = ticks[0], ticks[-1]

    def place(score: float) -> float:
        return round(100 * (score - low) / (high - low), 3)

    edges = _edges(low, high, thresholds)
    bars = {kind: _bars(values, edges, thresholds) for kind, values in scores.items()}
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return Histogram(
        bars=bars,
        totals={kind: len(values) for kind, values in scores.items()},
        ticks=tuple((f"{tick:.{digits}f}", place(tick)) for tick in ticks),
        tops={kind: round_ticks([0, *(bar.share for bar in row)])[-1] for kind, row in bars.items()},
        thresholds=_marks({f"{value:.3g}": place(value) for value in sorted(set(thresholds))}),
    )


def _marks(places: Mapping[str, float]) -> tuple[Mark, ...]:
    """Place thresholds, each in the first row where its label does not touch the one before."""
    last: list[float] = []
    marks = []
    for label, place in places.items():
        row = next((row for row, before in enumerate(last) if place - before > LABEL), len(last))
        last[row : row + 1] = [place]
        marks.append(Mark(label=label, place=place, row=row))
    return tuple(marks)


def _edges(low: float, high: float, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Return the edges of the bars: each threshold, and about evenly between, so that no bar crosses a threshold.

    Thresholds too near to one another or to an end for a visible bar between them share one edge.
    """
    marks = [low]
    for threshold in sorted(thresholds):
        if min(threshold - marks[-1], high - threshold) > NEAR * (high - low):
            marks.append(threshold)
    marks.append(high)
    counts = [max(1, round(BINS * (end - start) / (high - low))) for start, end in pairwise(marks)]
    parts = [
        np.linspace(start, end, count, endpoint=False)
        for (start, end), count in zip(pairwise(marks), counts, strict=True)
    ]
    return np.array([*np.concatenate(parts), marks[-1]])


def _bars(scores: Sequence[float], edges: NDArray[np.float64], thresholds: Sequence[float]) -> tuple[Bar, ...]:
    inside = np.clip(scores, edges[0], edges[-1])  # a computed round number can be off by a rounding error
    limits = np.where(
        np.isin(edges, thresholds), np.nextafter(edges, np.inf), edges
    )  # a score equal to a threshold is not above it
    limits[0] = edges[0]
    counts = np.histogram(inside, limits)[0]
    places = 100 * (edges - edges[0]) / (edges[-1] - edges[0])
    return tuple(
        Bar(start=round(start, 3), width=round(end - start, 3), share=100 * count / len(scores), count=int(count))
        for (start, end), count in zip(pairwise(places.tolist()), counts, strict=True)
        if count
    )


def round_ticks(values: Sequence[float]) -> list[float]:
    """Return two to eight evenly spaced round numbers that enclose the values."""
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 6)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [index * step for index in range(first, last + 1)]
