"""Split-conformal p-values and thresholds: pure functions of scores.

``Z_1 .. Z_n`` are the scores of the calibration images and ``S`` is the score of a new good part. A part is called
defective if ``S`` is greater than the threshold ``T``, the ``k``-th largest of the ``Z``.

The ranks alone give the guarantee; the distribution of the scores does not matter. If all ``n + 1`` scores are
exchangeable (any order of them is as likely as any other, e.g. because they are drawn independently from one source),
then the rank of ``S`` among them is uniform over ``1 .. n + 1``, and ``S`` is among the ``k`` largest with probability
``k / (n + 1)``; ties only lower it.

- Marginal guarantee, on average over calibration sets: ``P(S > T) <= k / (n + 1)``. Vovk, Gammerman and Shafer,
  "Algorithmic Learning in a Random World" (2005), chapter 2.
- Conditional guarantee, for the calibration set at hand (independent draws): its own false-alarm rate ``P(S > T | T)``
  follows ``Beta(k, n + 1 - k)`` if scores are continuous and is stochastically smaller if they tie. Vovk, "Conditional
  validity of inductive conformal predictors" (2012), proposition 2a.
- Cross-fitted scores: ``Z_i`` is the score of a training image by the model without the image's fold. In theory, for a
  part whose score by the model without that fold is compared with each ``Z_i``, ``P`` is at most ``cross_fit_bound``;
  about ``k / (n + 1)`` is what is observed, and what is stated as expected. Vovk, "Cross-conformal predictors" (2015);
  Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+" (2021), theorems 1 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from clipada.config import CalibrationConfig

Scores = NDArray[np.float64]


def p_values(calibration: Scores, scores: ArrayLike) -> Scores:
    """Return the share of good parts that score at least as high, counting the part itself as one of them.

    ``p = (1 + #{Z_i >= s}) / (n + 1)``; for a good part ``P(p <= a) <= a`` for every ``a``, ties included.

    Args:
        calibration: ``(n,)`` scores of good parts in ascending order.
        scores: Any shape.

    Returns:
        The shape of ``scores``, values ``1 / (n + 1)`` to 1.
    """
    at_least = calibration.size - np.searchsorted(calibration, np.asarray(scores, np.float64), side="left")
    return np.asarray((1 + at_least) / (calibration.size + 1), np.float64)


def threshold_rank(count: int, settings: CalibrationConfig) -> int:
    """Return the rank of the threshold: the largest ``k`` for which the false-alarm rate is guaranteed.

    Marginal mode: ``k <= a (n + 1)``. Conditional mode: ``P(Beta(k, n + 1 - k) > a) = P(Binomial(n, a) < k)`` is at
    most ``1 - confidence``. Binomial probabilities rise with ``k``, so that counting those that are small enough gives
    the largest such ``k``.

    Args:
        count: ``n``, the number of calibration images.
        settings: The requested rate ``a``, the mode and the confidence.

    Returns:
        1 for the largest score; 0 if there are too few images for any threshold.
    """
    rate = _exact(settings.false_alarm_rate)
    if settings.mode == "marginal":
        return math.floor(rate * (count + 1))
    chances = special.bdtr(np.arange(count), count, settings.false_alarm_rate)
    return int(np.count_nonzero(chances <= float(1 - _exact(settings.confidence))))


def needed_images(settings: CalibrationConfig) -> int:
    """Return the smallest number of calibration images that allows the guarantee.

    Marginal mode: ``ceil(1 / a) - 1``. Conditional mode: the smallest ``n`` with ``(1 - a)^n <= 1 - confidence``.
    """
    rate = _exact(settings.false_alarm_rate)
    if settings.mode == "marginal":
        return max(1, math.ceil(1 / rate) - 1)
    estimate = math.log(1 - settings.confidence) / math.log1p(-settings.false_alarm_rate)
    count = max(1, math.floor(estimate) - 1)  # start below the estimate, which is rounded; the exact rank decides
    while not threshold_rank(count, settings):
        count += 1
    return count


def cross_fit_bound(count: int, rank: int, folds: int) -> float:
    """Return the bound that theory gives for the false-alarm rate of cross-fitted thresholds, 0..1, on average.

    ``2 k / (n + 1) + min(2 (1 - 1 / K) / (n / K + 1), (1 - K / n) / (K + 1))`` with ``K`` folds of ``n`` images, the
    sizes of which are alike; ``2 k / (n + 1)`` where each image is a fold.

    Args:
        count: ``n``.
        rank: ``k``, the rank of the threshold.
        folds: ``K``, 2 to ``n``.
    """
    unlike = min(2 * (1 - 1 / folds) / (count / folds + 1), (1 - folds / count) / (folds + 1))
    return min(1.0, 2 * rank / (count + 1) + unlike)


def with_attainable_rate(settings: CalibrationConfig, count: int) -> CalibrationConfig:
    """Return marginal settings with the lowest rate that ``count`` images allow, to 4 digits, if they ask for less."""
    least = math.ceil(10_000 / (count + 1)) / 10_000
    return settings if settings.false_alarm_rate >= least else replace(settings, false_alarm_rate=least)


def attainable_rate(count: int, rates: Iterable[float], settings: CalibrationConfig) -> float | None:
    """Return the lowest of some false-alarm rates that ``count`` images guarantee; ``None`` if they guarantee none."""
    asked = (replace(settings, false_alarm_rate=rate) for rate in sorted(rates))
    return next((one.false_alarm_rate for one in asked if needed_images(one) <= count), None)


def threshold(calibration: Scores, rank: int) -> float:
    """Return the ``rank``-th largest of scores in ascending order; only a greater score exceeds it."""
    return float(calibration[calibration.size - rank])


def rate_bound(count: int, rank: int, confidence: float) -> float:
    """Return the upper bound of the false-alarm rate with ``confidence``: a quantile of ``Beta(k, n + 1 - k)``."""
    return float(special.betaincinv(rank, count + 1 - rank, confidence))


def _exact(value: float) -> Fraction:
    """Return the decimal number that the user wrote: 0.07 is 7 / 100, which no binary float equals.

    With floats, ``0.29 * 100`` is less than 29, and the rank would be one too small.
    """
    return Fraction(repr(float(value)))
