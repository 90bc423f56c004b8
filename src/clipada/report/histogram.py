"""Where the bars and ticks of a score histogram lie; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clipada.report.parts import Kind

BINS = 32
"""Bars across the range of the scores."""

NEAR = 1e-4
"""Share of the axis that cannot be told from nothing."""

LABEL = 16.0
"""The room that a label takes on a phone, in percent of the axis."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        start: Where it begins, in percent of the axis.
        width: In percent of the axis.
        share: Its share of its parts, in percent.
        count: Its number of parts.
    """

    start: float
    width: float
    share: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A threshold.

    Attributes:
        label: Its score.
        place: In percent of the axis.
        row: The row of its label, from 0: labels of near thresholds stand above one another.
    """

    label: str
    place: float
    row: int


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Scores of one product's parts on one axis.

    Attributes:
        bars: For each kind of part, the bars that are not empty.
        totals: For each kind, the number of parts.
        ticks: Marks of the score axis: its label, and its place in percent of the axis.
        top: The end of the share axis, in percent.
        thresholds: Scores above which a part is called defective.
    """

    bars: Mapping[Kind, tuple[Bar, ...]]
    totals: Mapping[Kind, int]
    ticks: tuple[tuple[str, float], ...]
    top: float
    thresholds: tuple[Mark, ...]


def histogram(scores: Mapping[Kind, Sequence[float]], thresholds: Sequence[float] = ()) -> Histogram:
    """Lay out a histogram.

    Bars show shares, not counts, so that ten defects can be seen beside a thousand good parts.

    Args:
        scores: Finite scores of each kind of part; kinds without any are passed over.
        thresholds: Scores to mark.
    """
    scores = {kind: values for kind, values in scores.items() if len(values)}
    ticks = round_ticks([*thresholds, *(score for values in scores.values() for score in values)])
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
        top=round_ticks([0, *(bar.share for row in bars.values() for bar in row)])[-1],
        thresholds=_marks({f"{value:.3g}": place(value) for value in sorted(set(thresholds))}),
    )


def _marks(places: Mapping[str, float]) -> tuple[Mark, ...]:
    """Thresholds by label, each in the first row where its label does not touch the one before."""
    last: list[float] = []
    marks = []
    for label, place in places.items():
        row = next((row for row, before in enumerate(last) if place - before > LABEL), len(last))
        last[row : row + 1] = [place]
        marks.append(Mark(label=label, place=place, row=row))
    return tuple(marks)


def _edges(low: float, high: float, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Where bars begin and end: at each threshold, and about evenly between, so that no bar lies on both sides.

    Thresholds too near to one another or to an end for a bar to be seen between them count as one mark.
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
    inside = np.clip(scores, edges[0], edges[-1])  # a round number, computed, can lie an error within
    limits = np.where(np.isin(edges, thresholds), np.nextafter(edges, np.inf), edges)  # a score at one is not above it
    limits[0] = edges[0]
    counts = np.histogram(inside, limits)[0]
    places = 100 * (edges - edges[0]) / (edges[-1] - edges[0])
    return tuple(
        Bar(start=round(start, 3), width=round(end - start, 3), share=100 * count / len(scores), count=int(count))
        for (start, end), count in zip(pairwise(places.tolist()), counts, strict=True)
        if count
    )


def round_ticks(values: Sequence[float]) -> list[float]:
    """Two to eight round numbers, evenly spaced, that the values lie within."""
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 6)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [index * step for index in range(first, last + 1)]
