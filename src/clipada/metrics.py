"""How well scores and maps tell anomalous from normal: exact, ties included, from one sort of the pixels.

Every curve here rises only where an anomalous score is passed, so the distinct anomalous scores are all the thresholds
needed: at each, binary search among the sorted normal scores counts the false positives. An MVTec category (11 million
pixels) takes about a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from clipada.errors import ClipAdaError
from clipada.types import Map, Mask

Scores = NDArray[np.floating[Any]]
"""Anomaly scores of any shape: finite, the higher, the more anomalous."""

AUPRO_FPR_LIMIT = 0.3
"""The false positive rate that the per-region overlap curve is integrated to."""


@dataclass(frozen=True, kw_only=True)
class CategoryMetrics:
    """The test result of one category, 0..1; ``None`` where it is undefined, e.g. without masks.

    Attributes:
        image_auroc: I-AUC: area under the ROC curve of the image scores.
        pixel_auroc: P-AUC: the same over all pixels.
        pixel_ap: P-mAP: average precision over all pixels.
        aupro: Area under the per-region overlap curve up to ``AUPRO_FPR_LIMIT``.
        image_ap: Average precision of the image scores.
        image_f1_max: Highest F1 of the image scores over all thresholds.
        pixel_f1_max: The same over all pixels.
        n_normal: Number of normal images.
        n_anomalous: Number of anomalous images.
    """

    image_auroc: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    image_ap: float | None
    image_f1_max: float | None
    pixel_f1_max: float | None
    n_normal: int
    n_anomalous: int

    def to_dict(self) -> dict[str, float | int | None]:
        """The values by name, in the order above, ready for JSON."""
        return asdict(self)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: ``P(anomalous > normal) + P(anomalous = normal) / 2``.

    Args:
        scores: Any shape, finite.
        labels: The same shape, bool or 0 and 1: whether anomalous.

    Returns:
        0..1.

    Raises:
        ClipAdaError: Shapes differ, a score is not finite, a label is not 0 or 1, or a class is missing.
    """
    return _Ranking.of_labelled(scores, labels).area(limit=1.0)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision: ``sum_k (R_k - R_{k-1}) P_k`` over falling distinct thresholds, without interpolation.

    This is scikit-learn's ``average_precision_score``. Arguments and errors are ``auroc``'s.
    """
    return _Ranking.of_labelled(scores, labels).average_precision()


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float:
    """The highest ``F1 = 2 TP / (TP + FP + P)`` over all thresholds. Arguments and errors are ``auroc``'s."""
    return _Ranking.of_labelled(scores, labels).f1_max()


def aupro(maps: Sequence[Map] | Scores, masks: Sequence[Mask] | Mask, fpr_limit: float = AUPRO_FPR_LIMIT) -> float:
    """Area under the per-region overlap curve up to ``fpr_limit``, divided by ``fpr_limit``.

    ``PRO(t)`` is the share of a ground-truth region's pixels with ``map >= t``, averaged over the 8-connected regions
    of all masks; ``FPR(t)`` is the share of all normal pixels with ``map >= t``, those of normal images included. The
    curve is linear between distinct thresholds and cut exactly at the limit (Bergmann et al., "The MVTec Anomaly
    Detection Dataset", IJCV 2021, section 5.1).

    Args:
        maps: ``(N, H, W)``, or N maps ``(H, W)`` of any sizes, finite.
        masks: As ``maps``, bool. The mask of a normal image is all false.
        fpr_limit: Above 0, up to 1.

    Returns:
        0..1.

    Raises:
        ClipAdaError: Shapes differ, a value is not finite, the masks hold no anomalous or no normal pixel, or the
            limit is out of range.
    """
    if not 0 < fpr_limit <= 1:
        raise ClipAdaError(
            "cannot integrate the overlap curve", expected="a limit above 0, up to 1", got=f"{fpr_limit}"
        )
    _check_counts(maps=maps, masks=masks)
    checked = [_known_mask(i, maps[i], masks[i], anomalous=True) for i in range(len(maps))]
    return _Ranking.of(*_split_pixels(maps, checked)).area(limit=fpr_limit, per_region=True)


def evaluate_maps(
    scores: ArrayLike, labels: ArrayLike, maps: Sequence[Map] | Scores, masks: Sequence[Mask | None] | Mask
) -> CategoryMetrics:
    """All metrics of one category's test images.

    A normal image needs no mask: all its pixels are normal. An anomalous image without a mask counts for the image
    metrics alone; its pixels, which nobody has labelled, are left out of the pixel metrics.

    Args:
        scores: ``(N,)``: the image scores.
        labels: ``(N,)``, bool or 0 and 1: whether the image is anomalous.
        maps: ``(N, H, W)``, or N maps ``(H, W)`` of any sizes.
        masks: N masks, each of its map's shape, or ``None``.

    Returns:
        Metrics that lack a class to compare, or whose scores are not all finite, are ``None``.

    Raises:
        ClipAdaError: The numbers of scores, labels, maps and masks differ, a mask's shape is not its map's, or a normal
            image has an anomalous pixel.
    """
    flags = _checked_labels(labels)
    values = _checked_scores(scores, flags)
    _check_counts(scores=values, labels=flags, maps=maps, masks=masks)
    known = [i for i, flag in enumerate(flags) if not flag or masks[i] is not None]
    known_masks = [_known_mask(i, maps[i], masks[i], anomalous=bool(flags[i])) for i in known]
    images = _ranked(values[~flags], values[flags])
    pixels = _ranked(*_split_pixels([maps[i] for i in known], known_masks))
    return CategoryMetrics(
        image_auroc=images.area(limit=1.0) if images else None,
        pixel_auroc=pixels.area(limit=1.0) if pixels else None,
        pixel_ap=pixels.average_precision() if pixels else None,
        aupro=pixels.area(limit=AUPRO_FPR_LIMIT, per_region=True) if pixels else None,
        image_ap=images.average_precision() if images else None,
        image_f1_max=images.f1_max() if images else None,
        pixel_f1_max=pixels.f1_max() if pixels else None,
        n_normal=int((~flags).sum()),
        n_anomalous=int(flags.sum()),
    )


def mean_metrics(categories: Iterable[CategoryMetrics]) -> CategoryMetrics:
    """The plain mean over categories of each metric, leaving out categories where it is ``None``; counts are summed.

    Raises:
        ClipAdaError: There is no category.
    """
    rows = [category.to_dict() for category in categories]
    if not rows:
        raise ClipAdaError("cannot average metrics", expected="one category or more", got="none")
    merged: dict[str, Any] = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        is_count = name.startswith("n_")
        merged[name] = sum(values) if is_count else float(np.mean(values)) if values else None
    return CategoryMetrics(**merged)


@dataclass(frozen=True)
class _Ranking:
    """Normal against anomalous scores at the K distinct anomalous scores ``t``, highest first.

    Attributes:
        hits: ``(K,)``: anomalous scores equal to ``t``.
        overlap: ``(K,)``: what they add to the mean per-region overlap, up to a constant factor.
        above: ``(K,)``: normal scores greater than ``t``.
        false: ``(K,)``: normal scores greater than or equal to ``t``.
        normal: Number of normal scores.
    """

    hits: NDArray[np.int64]
    overlap: NDArray[np.float64]
    above: NDArray[np.int64]
    false: NDArray[np.int64]
    normal: int

    @classmethod
    def of(cls, normal: Scores, anomalous: Scores, weights: NDArray[np.float64] | None = None) -> _Ranking:
        """Rank two classes; ``weights`` are the anomalous pixels' shares of their regions."""
        if flaw := _flaw(normal, anomalous):
            raise ClipAdaError("metric is undefined", expected="finite scores of both classes", got=flaw)
        thresholds, step = np.unique(anomalous, return_inverse=True)
        ordered = np.sort(normal)
        return cls(
            hits=np.bincount(step)[::-1],
            overlap=np.bincount(step, weights)[::-1].astype(np.float64),
            above=(normal.size - np.searchsorted(ordered, thresholds, side="right"))[::-1],
            false=(normal.size - np.searchsorted(ordered, thresholds, side="left"))[::-1],
            normal=normal.size,
        )

    @classmethod
    def of_labelled(cls, scores: ArrayLike, labels: ArrayLike) -> _Ranking:
        """Rank scores by their labels."""
        flags = _checked_labels(labels)
        values = _checked_scores(scores, flags)
        return cls.of(values[~flags], values[flags])

    def area(self, limit: float, per_region: bool = False) -> float:
        """Area under the true positive rate, or the overlap, over false positive rates 0..limit, divided by limit.

        Step k lifts the curve by ``w_k`` while the rate runs evenly from ``a_k`` to ``b_k``, so it adds
        ``w_k * mean(max(limit - x, 0))`` over ``x`` in ``a_k..b_k``.
        """
        weights = self.overlap if per_region else self.hits
        left_a = np.maximum(limit - self.above / self.normal, 0)
        left_b = np.maximum(limit - self.false / self.normal, 0)
        width = (self.false - self.above) / self.normal
        inside = np.divide(left_a - left_b, width, out=np.ones_like(width), where=width > 0)
        return float(weights @ (inside * (left_a + left_b) / (2 * limit)) / weights.sum())

    def average_precision(self) -> float:
        """``sum_k (R_k - R_{k-1}) P_k``."""
        true = np.cumsum(self.hits)
        return float(self.hits @ (true / (true + self.false)) / true[-1])

    def f1_max(self) -> float:
        """The highest F1: no other threshold beats the anomalous scores, as it adds false positives alone."""
        true = np.cumsum(self.hits)
        return float((2 * true / (true + self.false + true[-1])).max())


def _ranked(normal: Scores, anomalous: Scores, weights: NDArray[np.float64] | None = None) -> _Ranking | None:
    """The ranking, or ``None`` where it is undefined."""
    return None if _flaw(normal, anomalous) else _Ranking.of(normal, anomalous, weights)


def _flaw(normal: Scores, anomalous: Scores) -> str | None:
    """Why two classes cannot be ranked, if they cannot."""
    if not (normal.size and anomalous.size):
        return f"{normal.size} normal and {anomalous.size} anomalous scores"
    return None if np.isfinite(normal).all() and np.isfinite(anomalous).all() else "NaN or infinity"


def _split_pixels(maps: Sequence[Map] | Scores, masks: Sequence[Mask]) -> tuple[Scores, Scores, NDArray[np.float64]]:
    """All normal pixels, all anomalous pixels, and for each of the latter one over its 8-connected region's area."""
    normal, anomalous, weights = [np.empty(0, np.float32)], [np.empty(0, np.float32)], [np.empty(0)]
    for values, mask in zip(maps, masks, strict=True):
        regions = scipy.ndimage.label(mask, np.ones((3, 3)))[0][mask]
        normal.append(values[~mask])
        anomalous.append(values[mask])
        weights.append(1 / np.bincount(regions)[regions])
    return np.concatenate(normal), np.concatenate(anomalous), np.concatenate(weights)


def _known_mask(index: int, values: Map | Scores, mask: Mask | None, anomalous: bool) -> Mask:
    """The mask of image ``index`` as bool; without one, all its pixels are normal."""
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
    """Labels as bool; anything but true, false, 0 and 1 raises."""
    values = np.asarray(labels)
    if values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise ClipAdaError("labels cannot be read", expected="true and false, or 1 and 0", got=f"{values.dtype} values")
    return values.astype(np.bool_, copy=False)


def _checked_scores(scores: ArrayLike, labels: NDArray[np.bool_]) -> Scores:
    """Scores as floats, one for each label."""
    values = np.asarray(scores)
    if values.shape != labels.shape:
        raise ClipAdaError("scores do not fit their labels", expected=f"shape {labels.shape}", got=f"{values.shape}")
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)


def _check_counts(**lists: Sequence[Any] | NDArray[Any]) -> None:
    """Raise unless all lists are of one length."""
    if len({len(items) for items in lists.values()}) != 1:
        got = ", ".join(f"{len(items)} {name}" for name, items in lists.items())
        raise ClipAdaError("cannot evaluate", expected="as many of each", got=got)
