"""Calibration: thresholds and p-values with a stated guarantee, computed from scores of good parts."""

from clipada.calibration.conformal import (
    needed_images,
    p_values,
    rate_bound,
    threshold,
    threshold_rank,
)
from clipada.calibration.drift import QUANTILES, DriftMonitor, DriftReport, JumperMartingale
from clipada.calibration.groups import PRODUCT, group_of
from clipada.calibration.record import (
    Calibration,
    CalibrationImage,
    Limits,
    find_calibration,
    read_calibration,
    require_images,
    write_calibration,
)

__all__ = [
    "PRODUCT",
    "QUANTILES",
    "Calibration",
    "CalibrationImage",
    "DriftMonitor",
    "DriftReport",
    "JumperMartingale",
    "Limits",
    "find_calibration",
    "group_of",
    "needed_images",
    "p_values",
    "rate_bound",
    "read_calibration",
    "require_images",
    "threshold",
    "threshold_rank",
    "write_calibration",
]
