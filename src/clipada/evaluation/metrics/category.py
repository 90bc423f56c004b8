"""Metrics of lists of scores and maps, and of a category's test images in a stream."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipada.data.saturation import SaturatedRegion
from clipada.errors import ClipAdaError
from clipada.evaluation.metrics.ranking import ClassScores, Ranking, Scores
from clipada.evaluation.metrics.results import CategoryMetrics
from clipada.evaluation.metrics.saturated import KindMetrics, SaturatedTest, mean_spro
from clipada.evaluation.metrics.streaming import AUPRO_FPR_LIMIT, PixelMetrics, region_shares
from clipada.types import Map, Mask

log = logging.getLogger(__name__)

PIXEL_ERROR = 1e-4
"""Error of pixel metrics beyond which a warning is logged."""


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the area under the ROC curve: ``P(anomalous > normal) + P(anomalous = normal) / 2``.

    Args:
        scores: Any shape, finite.
        labels: The same shape, bool or 0 and 1; true if anomalous.

    Returns:
        0..1.

    Raises:
        ClipAdaError: Shapes differ, a score is not finite, a label is not 0 or 1, or a class is missing.
    """
    return _ranked(scores, labels).area(limit=1.0)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the average precision ``sum_k (R_k - R_{k-1}) P_k`` over descending thresholds, not interpolated.

    This is scikit-learn's ``average_precision_score``. Arguments and errors are ``auroc``'s.
    """
    return _ranked(scores, labels).average_precision()


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the highest ``F1 = 2 TP / (TP + FP + P)`` over all thresholds. Arguments and errors are ``auroc``'s."""
    return _ranked(scores, labels).f1_max()


def aupro(maps: Sequence[Map] | Scores, masks: Sequence[Mask] | Mask, fpr_limit: float = AUPRO_FPR_LIMIT) -> float:
    """Compute the area under the per-region overlap curve up to ``fpr_limit``, divided by ``fpr_limit``.

    ``PRO(t)`` is the share of a ground-truth region's pixels with ``map >= t``, averaged over the 8-connected regions
    of all masks; ``FPR(t)`` is the share of all normal pixels with ``map >= t``, those of normal images included. The
    curve is linear between distinct thresholds and cut exactly at the limit (Bergmann et al., "The MVTec Anomaly
    Detection Dataset", IJCV 2021, section 5.1).

    Args:
        maps: ``(N, H, W)``, or N maps ``(H, W)`` of any sizes, finite.
        masks: As ``maps``, bool. The mask of a normal image is all false.
        fpr_limit: ScoreCounter 0, up to 1.

    Returns:
        0..1; exact up to ``CHUNK`` pixels, beyond that within ``PixelFigures.error``.

    Raises:
        ClipAdaError: Shapes differ, a value is not finite, the masks have no anomalous or no normal pixel, or the
            limit is out of range.
    """
    if not 0 < fpr_limit <= 1:
        raise ClipAdaError(
            "cannot integrate the overlap curve", expected="a limit above 0, up to 1", got=f"{fpr_limit}"
        )
    _check_counts(maps=maps, masks=masks)
    pixels = PixelMetrics(fpr_limit)
    for index in range(len(maps)):
        pixels.update(maps[index], _known_mask(index, maps[index], masks[index], anomalous=True))
    figures = pixels.compute()
    if figures is None:
        raise _undefined(pixels.normal, pixels.anomalous)
    return figures.aupro


class CategoryTest:
    """Accumulator of one category's test images that computes all metrics in bounded memory.

    Args:
        kinds: Kinds of anomalies whose masks have saturation thresholds, as in MVTec LOCO AD.
    """

    def __init__(self, kinds: Sequence[str] = ()) -> None:
        self._scores: list[float] = []
        self._labels: list[bool] = []
        self._pixels = PixelMetrics()
        self._saturated = SaturatedTest(kinds) if kinds else None

    def update(
        self,
        score: float,
        anomalous: bool,
        values: Map | Scores,
        mask: Mask | None,
        kind: str = "",
        regions: Sequence[SaturatedRegion] = (),
        inside: Mask | None = None,
    ) -> None:
        """Add an image.

        A normal image needs no mask: all its pixels are normal. An anomalous image without a mask counts for the image
        metrics only; its pixels are unlabeled and left out of the pixel metrics.

        Args:
            score: The image score.
            anomalous: True if the image shows a defect.
            values: ``(H, W)``: the anomaly map.
            mask: ``(H, W)``, or ``None``.
            kind: The kind of anomaly, where these have saturation thresholds.
            regions: Its defects with their saturation.
            inside: Region of interest, ``(H, W)``: only its pixels count in the pixel metrics, and a defect counts as
                the part of it that is inside. ``None`` for the whole image.

        Raises:
            ClipAdaError: The mask's shape is not the map's, or a normal image has an anomalous pixel.
        """
        if not anomalous or mask is not None:
            known = _known_mask(len(self._scores), values, mask, anomalous)
            if inside is None:
                self._pixels.update(values, known)
            elif inside.any():
                weights = region_shares(known & inside)
                self._pixels.update(np.asarray(values)[inside][np.newaxis], known[inside][np.newaxis], weights)
        self._scores.append(float(score))
        self._labels.append(bool(anomalous))
        if self._saturated is not None:
            self._saturated.update(kind if anomalous else None, float(score), values, regions, inside)

    def by_kind(self) -> dict[str, KindMetrics]:
        """Compute the metrics of each kind of anomaly, where these have saturation thresholds."""
        return {} if self._saturated is None else self._saturated.compute()

    def compute(self) -> CategoryMetrics:
        """Compute the metrics; those that lack a class or have scores that are not finite are ``None``."""
        scores, labels = np.array(self._scores), np.array(self._labels, np.bool_)
        images = None if _flaw(scores, labels) else _ranked(scores, labels)
        pixels = self._pixels.compute()
        if pixels is not None and pixels.error > PIXEL_ERROR:
            log.warning("too many pixels for exact pixel metrics: their error is up to %.0e", pixels.error)
        return CategoryMetrics(
            image_auroc=images.area(limit=1.0) if images else None,
            pixel_auroc=pixels.auroc if pixels else None,
            pixel_ap=pixels.average_precision if pixels else None,
            aupro=pixels.aupro if pixels else None,
            image_ap=images.average_precision() if images else None,
            image_f1_max=images.f1_max() if images else None,
            pixel_f1_max=pixels.f1_max if pixels else None,
            n_normal=int((~labels).sum()),
            n_anomalous=int(labels.sum()),
            spro=mean_spro(self.by_kind()),
        )


def evaluate_maps(
    scores: ArrayLike, labels: ArrayLike, maps: Sequence[Map] | Scores, masks: Sequence[Mask | None] | Mask
) -> CategoryMetrics:
    """Compute all metrics of one category's test images, as ``CategoryTest`` does.

    Args:
        scores: ``(N,)``: the image scores.
        labels: ``(N,)``, bool or 0 and 1; true if the image is anomalous.
        maps: ``(N, H, W)``, or N maps ``(H, W)`` of any sizes.
        masks: N masks, each of its map's shape, or ``None``.

    Raises:
        ClipAdaError: The numbers of scores, labels, maps and masks differ, a mask's shape is not its map's, or a normal
            image has an anomalous pixel.
    """
    flags = _checked_labels(labels)
    values = _checked_scores(scores, flags)
    _check_counts(scores=values, labels=flags, maps=maps, masks=masks)
    test = CategoryTest()
    for index, (score, flag) in enumerate(zip(values, flags, strict=True)):
        test.update(score, flag, maps[index], masks[index])
    return test.compute()


def _ranked(scores: ArrayLike, labels: ArrayLike) -> Ranking:
    """Rank scores by their labels."""
    flags = _checked_labels(labels)
    values = _checked_scores(scores, flags)
    if flaw := _flaw(values, flags):
        raise flaw
    return Ranking.of(ClassScores(values[~flags]), ClassScores(values[flags]))


def _flaw(scores: Scores, labels: NDArray[np.bool_]) -> ClipAdaError | None:
    """Return the error of scores that cannot be ranked, or ``None``."""
    anomalous = int(labels.sum())
    if 0 < anomalous < labels.size and np.isfinite(scores).all():
        return None
    return _undefined(labels.size - anomalous, anomalous)


def _undefined(normal: int, anomalous: int) -> ClipAdaError:
    """Return the error for these numbers of scores; if both classes are there, values are not finite."""
    got = "NaN or infinity" if normal and anomalous else f"{normal} normal and {anomalous} anomalous scores"
    return ClipAdaError("metric is undefined", expected="finite scores of both classes", got=got)


def _known_mask(index: int, values: Map | Scores, mask: Mask | None, anomalous: bool) -> Mask:
    """Return the mask of image ``index`` as bool; without one, all its pixels are normal."""
    if mask is None:
        return np.zeros(np.shape(values), np.bool_)
    if np.ndim(values) != 2 or np.shape(mask) != np.shape(values):
        got = f"mask {np.shape(mask)} for map {np.shape(values)}"
        raise ClipAdaError(f"mask of image {index} does not fit its map", expected="the same (H, W)", got=got)
    flags = _checked_labels(mask)
    if not anomalous and flags.any():
        got = f"{int(flags.sum())} anomalous pixels"
        raise ClipAdaError(f"label and mask of image {index} disagree", expected="no anomalous pixel", got=got)
    return flags


def _checked_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Convert labels to bool; anything but true, false, 0 and 1 raises."""
    values = np.asarray(labels)
    if values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise ClipAdaError("labels cannot be read", expected="true and false, or 1 and 0", got=f"{values.dtype} values")
    return values.astype(np.bool_, copy=False)


def _checked_scores(scores: ArrayLike, labels: NDArray[np.bool_]) -> Scores:
    """Convert scores to floats, one for each label."""
    values = np.asarray(scores)
    if values.shape != labels.shape:
        raise ClipAdaError("scores do not fit their labels", expected=f"shape {labels.shape}", got=f"{values.shape}")
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)


def _check_counts(**lists: Sequence[Any] | NDArray[Any]) -> None:
    """Raise unless all lists have the same length."""
    if len({len(items) for items in lists.values()}) != 1:
        got = ", ".join(f"{len(items)} {name}" for name, items in lists.items())
        raise ClipAdaError("cannot evaluate", expected="as many of each", got=got)
