"""Many scores in bounded room: each rounded to a fixed number of binary digits, with how often it was seen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

DIGITS = 12
"""Binary digits of a score that count: scores that differ by less than 0.05 % may tie."""


class Tally:
    """Rounded scores in rising order, and how often each was seen; of a number to its double at most 2,049.

    Args:
        scores: The first ones.
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
        """How many scores tie with one, and how many are greater."""
        place, found = self._place(score)
        return (self.counts[place] if found else 0), sum(self.counts[place + found :])

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """The smallest scores that at least such shares of all reach, each level 0..1."""
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
