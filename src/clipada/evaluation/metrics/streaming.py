"""Pixel metrics in one pass and bounded memory: exact up to a size, beyond that an interval with the exact value in it.

Exact AUROC, average precision, F1-max and AUPRO need all scores at once to sort them; a large test set has too many. So
scores are buffered, and up to ``CHUNK`` pixels the metrics are exact. Each full buffer is compressed into a
``Summary``: upper and lower bounds of its scores with few distinct values.

The interval is valid because each of the four metrics depends on the ranking of the scores alone, and none of them can
fall if anomalous scores rise or normal scores fall: every threshold then has as many or more true positives and as many
or fewer false positives. So upper bounds of the anomalous scores against lower bounds of the normal ones give an upper
bound of the metric, and the reverse gives a lower bound, for any scores in any order. Average precision also needs a
correction for the ties that the bounds create or resolve (see ``Ranking``). The midpoint of the interval is reported,
and `PixelFigures.error` is half of its width.

``FAN_IN`` summaries of one level are merged into one of the next level and compressed again. So a score is moved once
per level, and the number of levels grows only with the logarithm of the number of pixels. Summaries of the last level
are merged among themselves, which bounds the memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from clipada.evaluation.metrics.ranking import ClassScores, Ranking, Scores
from clipada.evaluation.metrics.summaries import Summary
from clipada.types import Mask

CHUNK = 2**24
"""Pixels that are buffered and evaluated exactly: more than an MVTec AD category's test images have at 256 pixels."""

FAN_IN = 4
"""Summaries of one level that are merged into one of the next."""

LEVELS = 3
"""Last level, whose summaries are merged among themselves: it bounds the memory."""

AUPRO_FPR_LIMIT = 0.3
"""False positive rate up to which the per-region overlap curve is integrated."""


@dataclass(frozen=True, kw_only=True)
class PixelFigures:
    """Metrics over pixels, 0..1.

    Attributes:
        auroc: Area under the ROC curve.
        average_precision: Average precision.
        f1_max: Highest F1 over all thresholds.
        aupro: Area under the per-region overlap curve up to the limit.
        error: Upper bound of the distance of any of the four from its exact value; 0 if they are exact.
    """

    auroc: float
    average_precision: float
    f1_max: float
    aupro: float
    error: float


class PixelMetrics:
    """Accumulator of anomaly maps that computes all metrics over their pixels.

    Args:
        fpr_limit: False positive rate up to which AUPRO is integrated; above 0, up to 1.

    Attributes:
        normal: Number of normal pixels so far.
        anomalous: Number of anomalous pixels so far.
        finite: True if all scores so far are finite.
    """

    def __init__(self, fpr_limit: float = AUPRO_FPR_LIMIT) -> None:
        self.fpr_limit = fpr_limit
        self.normal = self.anomalous = 0
        self.finite = True
        self._buffer = _PixelBuffer()
        self._levels: list[list[Summary]] = [[] for _ in range(LEVELS + 1)]

    @property
    def nbytes(self) -> int:
        """Size of everything that is stored, in bytes."""
        return self._buffer.nbytes + sum(summary.nbytes for level in self._levels for summary in level)

    def update(self, values: Scores, mask: Mask, weights: NDArray[np.float64] | None = None) -> None:
        """Add a map.

        Args:
            values: ``(H, W)``; a map with a value that is not finite makes all metrics undefined.
            mask: ``(H, W)`` bool: true where anomalous.
            weights: Contribution of each anomalous pixel to the overlap, up to a constant factor; by default its share
                of its 8-connected region.
        """
        self.finite = self.finite and bool(np.isfinite(values).all())
        anomalous = int(mask.sum())
        self.anomalous += anomalous
        self.normal += mask.size - anomalous
        if not self.finite:
            return
        if self._buffer.pixels and self._buffer.pixels + mask.size > CHUNK:
            self._summarize()
        self._buffer.add(values, mask, weights)

    def compute(self) -> PixelFigures | None:
        """Compute the metrics of all maps so far; ``None`` if a class has no pixel or a score is not finite."""
        if not (self.normal and self.anomalous and self.finite):
            return None
        if not any(self._levels):
            ranking = Ranking.of(self._buffer.normal(), self._buffer.anomalous())
            exact = self._curve_figures(ranking, ranking.average_precision())
            return _midpoint(exact, exact)
        self._summarize()
        concatenated = Summary.concatenated([summary for level in self._levels for summary in level])
        displaced = concatenated.anomalous.displaced
        lowest = Ranking.of(concatenated.normal.upper, concatenated.anomalous.lower)
        highest = Ranking.of(concatenated.normal.lower, concatenated.anomalous.upper)
        return _midpoint(
            self._curve_figures(lowest, lowest.average_precision_lower_bound(displaced)),
            self._curve_figures(highest, highest.average_precision_upper_bound(displaced)),
        )

    def _curve_figures(self, ranking: Ranking, average_precision: float) -> tuple[float, ...]:
        aupro = ranking.area(self.fpr_limit, per_region=True)
        return ranking.area(1.0), average_precision, ranking.f1_max(), aupro

    def _summarize(self) -> None:
        """Compress the buffered pixels, then merge every full level into the next."""
        if not self._buffer.pixels:
            return
        self._levels[0].append(Summary.of(self._buffer.normal(), self._buffer.anomalous()))
        self._buffer = _PixelBuffer()
        for index, level in enumerate(self._levels):
            if len(level) == FAN_IN:
                concatenated = Summary.concatenated(level).compressed()
                level.clear()
                self._levels[min(index + 1, LEVELS)].append(concatenated)


def region_shares(mask: Mask) -> NDArray[np.float64]:
    """Return each anomalous pixel's share of its 8-connected region, ``(number of anomalous pixels,)``."""
    regions = scipy.ndimage.label(mask, np.ones((3, 3)))[0][mask]
    shares: NDArray[np.float64] = 1 / np.bincount(regions)[regions]
    return shares


def _midpoint(low: tuple[float, ...], high: tuple[float, ...]) -> PixelFigures:
    """Return the midpoint of lower and upper bounds of AUROC, average precision, F1-max and AUPRO."""
    auroc, average_precision, f1_max, aupro = np.mean((low, high), axis=0).tolist()
    error = max(above - below for below, above in zip(low, high, strict=True)) / 2
    return PixelFigures(auroc=auroc, average_precision=average_precision, f1_max=f1_max, aupro=aupro, error=error)


_NONE: Scores = np.empty(0, np.float32)


@dataclass
class _PixelBuffer:
    """Buffer of uncompressed scores: normal pixels, anomalous pixels and each anomalous pixel's share of its region."""

    normals: list[Scores] = field(default_factory=list)
    anomalies: list[Scores] = field(default_factory=list)
    shares: list[NDArray[np.float64]] = field(default_factory=list)
    pixels: int = 0

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for parts in (self.normals, self.anomalies, self.shares) for part in parts)

    def add(self, values: Scores, mask: Mask, weights: NDArray[np.float64] | None) -> None:
        """Add a map."""
        self.pixels += mask.size
        if not mask.any():
            self.normals.append(values.flatten())
            return
        self.normals.append(values[~mask])
        self.anomalies.append(values[mask])
        self.shares.append(region_shares(mask) if weights is None else weights)

    def normal(self) -> ClassScores:
        return ClassScores(np.concatenate([_NONE, *self.normals]))

    def anomalous(self) -> ClassScores:
        return ClassScores(
            np.concatenate([_NONE, *self.anomalies]), weights=np.concatenate([np.empty(0), *self.shares])
        )
