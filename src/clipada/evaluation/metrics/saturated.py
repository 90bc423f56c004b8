"""Saturated per-region overlap (sPRO) of MVTec LOCO AD, by kind of anomaly.

``sPRO(t)`` is the mean over the regions of ``min(found(t) / saturation, 1)``, where ``found(t)`` is the number of a
region's pixels with ``map >= t`` and ``saturation`` the number that has to be found (Bergmann et al., "Beyond Dents and
Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization", IJCV 2022, section 4). The area
under its curve over the false-positive rate, up to a limit, is that of AUPRO with other weights: of a region's pixels
only the highest, as many as have to be found, count, each alike. So it is streamed by the same accumulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.data.saturation import SaturatedRegion
from clipada.evaluation.metrics.ranking import ClassScores, Ranking, Scores
from clipada.evaluation.metrics.streaming import PixelMetrics
from clipada.types import Mask

SPRO_FPR_LIMIT = 0.05
"""False positive rate up to which the saturated per-region overlap curve is integrated."""


@dataclass(frozen=True, kw_only=True)
class KindMetrics:
    """Test result of one kind of anomaly of a category against its normal images, 0..1; ``None`` where undefined.

    Attributes:
        image_auroc: Area under the ROC curve of the image scores.
        spro: Area under the saturated per-region overlap curve up to ``SPRO_FPR_LIMIT``.
        n_anomalous: Number of anomalous images.
    """

    image_auroc: float | None
    spro: float | None
    n_anomalous: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the values by name, in the order above, ready for JSON."""
        return asdict(self)


class SaturatedTest:
    """Accumulator of one category's test images, by kind of anomaly.

    Args:
        kinds: The kinds of anomalies.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._pixels = {kind: PixelMetrics(SPRO_FPR_LIMIT) for kind in kinds}
        self._scores: dict[str, list[float]] = {kind: [] for kind in kinds}
        self._normal: list[float] = []

    def update(
        self,
        kind: str | None,
        score: float,
        values: Scores,
        regions: Sequence[SaturatedRegion],
        inside: Mask | None = None,
    ) -> None:
        """Add an image.

        Args:
            kind: The kind of anomaly; ``None`` for a normal image.
            score: The image score.
            values: ``(H, W)``: the anomaly map.
            regions: Its defects, with masks ``(H, W)``; the pixels of an anomalous image without any are unlabeled.
            inside: Region of interest, ``(H, W)``: only its pixels count. Of a defect counts the part that is inside,
                of which the same share has to be found. ``None`` for the whole image.
        """
        counted: Mask = np.ones(values.shape, np.bool_) if inside is None else inside
        if kind is None:
            self._normal.append(score)
            for pixels in self._pixels.values():
                _update(pixels, values, np.zeros(values.shape, np.bool_), (), counted)
            return
        self._scores[kind].append(score)
        if regions:
            shown = [region._replace(mask=region.mask & counted) for region in regions]
            mask: Mask = np.logical_or.reduce([region.mask for region in shown])
            _update(self._pixels[kind], values, mask, [region for region in shown if region.mask.any()], counted)

    def compute(self) -> dict[str, KindMetrics]:
        """Compute the metrics of each kind."""
        return {kind: self._kind(kind) for kind in self._pixels}

    def _kind(self, kind: str) -> KindMetrics:
        normal, anomalous = np.array(self._normal), np.array(self._scores[kind])
        known = bool(normal.size and anomalous.size and np.isfinite([*normal, *anomalous]).all())
        figures = self._pixels[kind].compute()
        return KindMetrics(
            image_auroc=Ranking.of(ClassScores(normal), ClassScores(anomalous)).area(1.0) if known else None,
            spro=figures.aupro if figures else None,
            n_anomalous=anomalous.size,
        )


def _update(
    pixels: PixelMetrics, values: Scores, mask: Mask, regions: Sequence[SaturatedRegion], counted: Mask
) -> None:
    """Add those pixels of an image that count, ``(H, W)``, if any do."""
    if counted.any():
        weights = saturated_weights(values, mask, regions)
        pixels.update(np.asarray(values)[counted][np.newaxis], mask[counted][np.newaxis], weights)


def saturated_weights(values: Scores, mask: Mask, regions: Sequence[SaturatedRegion]) -> NDArray[np.float64]:
    """Return the contribution of each anomalous pixel to the mean saturated overlap, up to a constant factor.

    The highest pixels of a region, as many as have to be found, share its weight of 1; a part of a pixel counts as
    such. Pixels of several regions get the sum.

    Args:
        values: ``(H, W)``: the anomaly map.
        mask: ``(H, W)``: the union of the regions.
        regions: Masks ``(H, W)``, none of them empty, with the share of each that has to be found.

    Returns:
        ``(number of anomalous pixels,)``, in reading order.
    """
    weights = np.zeros(values.shape)
    for region in regions:
        scores = values[region.mask]
        needed = region.share * scores.size
        ranks = np.empty(scores.size)
        ranks[np.argsort(-scores, kind="stable")] = np.arange(scores.size)
        weights[region.mask] += np.clip(needed - ranks, 0, 1) / needed
    found: NDArray[np.float64] = weights[mask]
    return found


def mean_spro(kinds: dict[str, KindMetrics]) -> float | None:
    """Return the mean over the kinds of anomalies whose sPRO is defined; ``None`` without any."""
    known = [kind.spro for kind in kinds.values() if kind.spro is not None]
    return float(np.mean(known)) if known else None
