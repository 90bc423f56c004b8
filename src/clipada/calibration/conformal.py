"""Split-conformal p-values and thresholds: pure functions of scores.

Let ``Z_1 .. Z_n`` be the scores of the calibration images and ``S`` that of a new good part, drawn like them. A part is
called defective when ``S`` is greater than the threshold ``T``, the ``k``-th largest of the ``Z``.

- On average over calibrations (exchangeability is enough): ``P(S > T) <= k / (n + 1)``. Vovk, Gammerman and Shafer,
  "Algorithmic Learning in a Random World" (2005), chapter 2.
- For this very calibration (independent draws): its rate ``P(S > T | T)`` follows ``Beta(k, n + 1 - k)`` where scores
  are continuous and lies stochastically below it where they tie. Vovk, "Conditional validity of inductive conformal
  predictors" (2012), proposition 2a.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from clipada.config import CalibrationConfig

Scores = NDArray[np.float64]


def p_values(calibration: Scores, scores: ArrayLike) -> Scores:
    """The share of good parts that look at least as anomalous, the part itself counted among them.

    ``p = (1 + #{Z_i >= s}) / (n + 1)``; for a good part ``P(p <= a) <= a`` for every ``a``, ties included.

    Args:
        calibration: ``(n,)`` scores of good parts in rising order.
        scores: Any shape.

    Returns:
        The shape of ``scores``, values ``1 / (n + 1)`` to 1.
    """
    at_least = calibration.size - np.searchsorted(calibration, np.asarray(scores, np.float64), side="left")
    return np.asarray((1 + at_least) / (calibration.size + 1), np.float64)


def threshold_rank(count: int, settings: CalibrationConfig) -> int:
    """Which of the largest scores is the threshold: the largest ``k`` that keeps the promise.

    Marginal mode: ``k <= a (n + 1)``. Conditional mode: ``P(Beta(k, n + 1 - k) > a) = P(Binomial(n, a) < k)`` is at
    most ``1 - confidence``.

    Args:
        count: ``n``, the number of calibration images.
        settings: The asked rate ``a``, the mode and the confidence.

    Returns:
        1 for the largest score; 0 if there are too few images for any threshold.
    """
    rate = _exact(settings.false_alarm_rate)
    if settings.mode == "marginal":
        return math.floor(rate * (count + 1))
    chances = special.bdtr(np.arange(count), count, settings.false_alarm_rate)
    return int(np.count_nonzero(chances <= float(1 - _exact(settings.confidence))))


def needed_images(settings: CalibrationConfig) -> int:
    """The smallest number of calibration images for which the promise can be kept.

    Marginal mode: ``ceil(1 / a) - 1``. Conditional mode: the smallest ``n`` with ``(1 - a)^n <= 1 - confidence``.
    """
    rate = _exact(settings.false_alarm_rate)
    if settings.mode == "marginal":
        return max(1, math.ceil(1 / rate) - 1)
    estimate = math.log(1 - settings.confidence) / math.log1p(-settings.false_alarm_rate)
    count = max(1, math.floor(estimate) - 1)  # rounding: let the rank itself decide
    while not threshold_rank(count, settings):
        count += 1
    return count


def threshold(calibration: Scores, rank: int) -> float:
    """The ``rank``-th largest of scores in rising order; a score is beyond it when it is greater."""
    return float(calibration[calibration.size - rank])


def rate_bound(count: int, rank: int, confidence: float) -> float:
    """The false-alarm rate that a threshold stays below with ``confidence``: a quantile of ``Beta(k, n + 1 - k)``."""
    return float(special.betaincinv(rank, count + 1 - rank, confidence))


def _exact(value: float) -> Fraction:
    """The number as it was written: 0.07 is seven hundredths."""
    return Fraction(repr(float(value)))
