"""Metrics of a category, and their mean over categories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from clipada.errors import ClipAdaError


@dataclass(frozen=True, kw_only=True)
class CategoryMetrics:
    """Test result of one category, 0..1; ``None`` where it is undefined, e.g. without masks.

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
        spro: Area under the saturated per-region overlap curve up to ``SPRO_FPR_LIMIT``, as the mean over the kinds of
            anomalies; only with saturation thresholds, as in MVTec LOCO AD.
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
    spro: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the values by name, in the order above, ready for JSON; ``spro`` only where it is defined."""
        values: dict[str, float | int | None] = asdict(self)
        return values if self.spro is not None else {name: value for name, value in values.items() if name != "spro"}


def mean_metrics(categories: Iterable[CategoryMetrics]) -> CategoryMetrics:
    """Average each metric over the categories where it is not ``None``; counts are summed.

    Raises:
        ClipAdaError: There is no category.
    """
    rows = [category.to_dict() for category in categories]
    if not rows:
        raise ClipAdaError("cannot average metrics", expected="one category or more", got="none")
    merged: dict[str, Any] = {}
    for name in (one.name for one in fields(CategoryMetrics)):
        values = [value for row in rows if (value := row.get(name)) is not None]
        is_count = name.startswith("n_")
        merged[name] = sum(values) if is_count else float(np.mean(values)) if values else None
    return CategoryMetrics(**merged)
