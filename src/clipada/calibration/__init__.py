"""Calibration: thresholds and p-values with a stated guarantee, computed from scores of good parts."""

from clipada.calibration.change import CalibrationChange
from clipada.calibration.conformal import (
    attainable_rate,
    cross_fit_bound,
    needed_images,
    p_values,
    rate_bound,
    threshold,
    threshold_rank,
    with_attainable_rate,
)
from clipada.calibration.drift import QUANTILES, DriftMonitor, DriftReport, JumperMartingale
from clipada.calibration.groups import PRODUCT, group_of, product_by_split
from clipada.calibration.record import (
    Calibration,
    CalibrationImage,
    Limits,
    require_images,
)
from clipada.calibration.storage import (
    find_calibration,
    previous_path,
    read_calibration,
    swap_calibrations,
    write_calibration,
)

__all__ = [
    "PRODUCT",
    "QUANTILES",
    "Calibration",
    "CalibrationChange",
    "CalibrationImage",
    "DriftMonitor",
    "DriftReport",
    "JumperMartingale",
    "Limits",
    "attainable_rate",
    "cross_fit_bound",
    "find_calibration",
    "group_of",
    "needed_images",
    "p_values",
    "previous_path",
    "product_by_split",
    "rate_bound",
    "read_calibration",
    "require_images",
    "swap_calibrations",
    "threshold",
    "threshold_rank",
    "with_attainable_rate",
    "write_calibration",
]
