"""Histogram of scores in bounded memory: each score is rounded to a fixed number of binary digits and counted."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

DIGITS = 12
"""Binary digits that are kept of a score: scores that differ by less than 0.05 % may tie."""


class Tally:
    """Rounded scores in ascending order with their counts; at most 2,049 distinct ones in each range ``s .. 2 s``.

    Args:
        scores: The first scores to count.
    """

    def __init__(self, scores: Iterable[float] = ()) -> None:
        self.values: list[float] = []
        self.counts: list[int] = []
        self.size = 0
        for score in scores:
            self.add(score)

    def add(self, score: float, count: int = 1) -> None:
        """Count a score."""
        place, found = self._place(score)
        if found:
            self.counts[place] += count
        else:
            self.values.insert(place, _rounded(score))
            self.counts.insert(place, count)
        self.size += count

    def ties_and_above(self, score: float) -> tuple[int, int]:
        """Return the number of scores that tie with ``score`` and the number of greater ones."""
        place, found = self._place(score)
        return (self.counts[place] if found else 0), sum(self.counts[place + found :])

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """Return, for each level 0..1, the smallest score that at least this share of all scores does not exceed."""
        counts = np.cumsum(self.counts)
        places = np.searchsorted(counts, np.asarray(levels) * self.size, side="left")
        return [self.values[place] for place in places.clip(max=len(self.values) - 1)]

    def _place(self, score: float) -> tuple[int, bool]:
        rounded = _rounded(score)
        place = bisect_left(self.values, rounded)
        return place, place < len(self.values) and self.values[place] == rounded


def _rounded(score: float) -> float:
    mantissa, exponent = math.frexp(score)
    return math.ldexp(round(math.ldexp(mantissa, DIGITS)), exponent - DIGITS)
