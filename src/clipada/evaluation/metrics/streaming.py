"""Pixel metrics of any number of pixels: exact up to a size, then bracketed, in bounded memory and one pass.

Pixels are kept as they are until there are ``CHUNK`` of them. A chunk is then summarized twice: once every score is
moved up a little, once down. Anomalous scores moved up beside normal ones moved down can only raise AUROC, average
precision, F1-max and AUPRO, and the reverse can only lower them: the exact value lies between the two, whatever the
scores and their order, and `PixelFigures.error` is half the distance.

Summaries of ``FAN_IN`` chunks are joined and summarized again, so a score is moved once for each factor ``FAN_IN`` of
pixels, until the last level, which is joined with itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from clipada.evaluation.metrics.ranking import Points, Ranking, Scores
from clipada.evaluation.metrics.summaries import Summary
from clipada.types import Mask

CHUNK = 2**24
"""Pixels that are kept, and judged exactly: the test images of a category of MVTec AD at 256 pixels are fewer."""

FAN_IN = 4
"""Summaries of one level that are joined to one of the next."""

LEVELS = 3
"""The last level, whose summaries are joined among themselves: it bounds the memory."""

AUPRO_FPR_LIMIT = 0.3
"""The false positive rate that the per-region overlap curve is integrated to."""


@dataclass(frozen=True, kw_only=True)
class PixelFigures:
    """Metrics over pixels, 0..1.

    Attributes:
        auroc: Area under the ROC curve.
        average_precision: Average precision.
        f1_max: Highest F1 over all thresholds.
        aupro: Area under the per-region overlap curve up to the limit.
        error: None of the four is further than this from its exact value; 0 if they are exact.
    """

    auroc: float
    average_precision: float
    f1_max: float
    aupro: float
    error: float


class PixelMetrics:
    """Takes anomaly maps one by one and gives all metrics over their pixels.

    Args:
        fpr_limit: The false positive rate that AUPRO goes to; above 0, up to 1.

    Attributes:
        normal: Number of normal pixels so far.
        anomalous: Number of anomalous pixels so far.
        finite: Whether all scores so far are numbers.
    """

    def __init__(self, fpr_limit: float = AUPRO_FPR_LIMIT) -> None:
        self.fpr_limit = fpr_limit
        self.normal = self.anomalous = 0
        self.finite = True
        self._kept = _Kept()
        self._levels: list[list[Summary]] = [[] for _ in range(LEVELS + 1)]

    @property
    def nbytes(self) -> int:
        """Memory of all that is kept, in bytes."""
        return self._kept.nbytes + sum(summary.nbytes for level in self._levels for summary in level)

    def update(self, values: Scores, mask: Mask) -> None:
        """Take a map.

        Args:
            values: ``(H, W)``; a map with a value that is not finite leaves all metrics undefined.
            mask: ``(H, W)`` bool: true where anomalous.
        """
        self.finite = self.finite and bool(np.isfinite(values).all())
        anomalous = int(mask.sum())
        self.anomalous += anomalous
        self.normal += mask.size - anomalous
        if not self.finite:
            return
        if self._kept.pixels and self._kept.pixels + mask.size > CHUNK:
            self._summarize()
        self._kept.add(values, mask)

    def compute(self) -> PixelFigures | None:
        """The metrics of all maps so far; ``None`` if a class has no pixel or a score is not finite."""
        if not (self.normal and self.anomalous and self.finite):
            return None
        if not any(self._levels):
            ranking = Ranking.of(self._kept.normal(), self._kept.anomalous())
            exact = self._curve_figures(ranking, ranking.average_precision())
            return _between(exact, exact)
        self._summarize()
        joined = Summary.joined([summary for level in self._levels for summary in level])
        passed = joined.anomalous.passed
        lowest = Ranking.of(joined.normal.raised, joined.anomalous.lowered)
        highest = Ranking.of(joined.normal.lowered, joined.anomalous.raised)
        return _between(
            self._curve_figures(lowest, lowest.least_average_precision(passed)),
            self._curve_figures(highest, highest.most_average_precision(passed)),
        )

    def _curve_figures(self, ranking: Ranking, average_precision: float) -> tuple[float, ...]:
        aupro = ranking.area(self.fpr_limit, per_region=True)
        return ranking.area(1.0), average_precision, ranking.f1_max(), aupro

    def _summarize(self) -> None:
        """Summarize the pixels that are kept, then every level that is full."""
        if not self._kept.pixels:
            return
        self._levels[0].append(Summary.of(self._kept.normal(), self._kept.anomalous()))
        self._kept = _Kept()
        for index, level in enumerate(self._levels):
            if len(level) == FAN_IN:
                joined = Summary.joined(level).coarser()
                level.clear()
                self._levels[min(index + 1, LEVELS)].append(joined)


def _between(low: tuple[float, ...], high: tuple[float, ...]) -> PixelFigures:
    """The middle between bounds: AUROC, average precision, F1-max and AUPRO."""
    auroc, average_precision, f1_max, aupro = np.mean((low, high), axis=0).tolist()
    error = max(above - below for below, above in zip(low, high, strict=True)) / 2
    return PixelFigures(auroc=auroc, average_precision=average_precision, f1_max=f1_max, aupro=aupro, error=error)


_NONE: Scores = np.empty(0, np.float32)


@dataclass
class _Kept:
    """Pixels as they came: the normal ones, the anomalous ones and each of these' share of its region."""

    normals: list[Scores] = field(default_factory=list)
    anomalies: list[Scores] = field(default_factory=list)
    shares: list[NDArray[np.float64]] = field(default_factory=list)
    pixels: int = 0

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for parts in (self.normals, self.anomalies, self.shares) for part in parts)

    def add(self, values: Scores, mask: Mask) -> None:
        """Take a map; regions are 8-connected."""
        self.pixels += mask.size
        if not mask.any():
            self.normals.append(values.flatten())
            return
        regions = scipy.ndimage.label(mask, np.ones((3, 3)))[0][mask]
        self.normals.append(values[~mask])
        self.anomalies.append(values[mask])
        self.shares.append(1 / np.bincount(regions)[regions])

    def normal(self) -> Points:
        return Points(np.concatenate([_NONE, *self.normals]))

    def anomalous(self) -> Points:
        return Points(np.concatenate([_NONE, *self.anomalies]), weights=np.concatenate([np.empty(0), *self.shares]))
