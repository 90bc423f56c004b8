"""Metrics of the separation of anomalous from normal: AUROC, average precision, F1-max, AUPRO, ties included."""

from clipada.evaluation.metrics.category import CategoryTest, aupro, auroc, average_precision, evaluate_maps, f1_max
from clipada.evaluation.metrics.results import CategoryMetrics, mean_metrics
from clipada.evaluation.metrics.saturated import SPRO_FPR_LIMIT, KindMetrics, SaturatedTest, saturated_weights
from clipada.evaluation.metrics.streaming import AUPRO_FPR_LIMIT, PixelFigures, PixelMetrics

__all__ = [
    "AUPRO_FPR_LIMIT",
    "SPRO_FPR_LIMIT",
    "CategoryMetrics",
    "CategoryTest",
    "KindMetrics",
    "PixelFigures",
    "PixelMetrics",
    "SaturatedTest",
    "aupro",
    "auroc",
    "average_precision",
    "evaluate_maps",
    "f1_max",
    "mean_metrics",
    "saturated_weights",
]
