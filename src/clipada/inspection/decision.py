"""Whether maps can be judged, what a calibration says of a verdict, and whether it is the model's own."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipada.calibration import Calibration
from clipada.errors import CalibrationError, RunError
from clipada.types import ModelIdentity, Verdict

log = logging.getLogger(__name__)


def finite(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The raw maps, if they are finite; raises ``RunError`` else."""
    if not np.isfinite(raw).all():
        raise RunError(
            "the run gives an anomaly map that is not finite",
            expected="values 0..1",
            remedy="train again, with a lower training.learning_rate",
        )
    return raw


def judged(verdict: Verdict, calibration: Calibration, group: str | None) -> Verdict:
    """The verdict with what the calibration says of its score."""
    limits = calibration.limits(group)
    return replace(
        verdict,
        calibration=calibration.id,
        p_value=calibration.p_value(verdict.score, group),
        score_threshold=limits.score,
        defective=verdict.score > limits.score,
        group=calibration.threshold_group(group),
    )


def fitting(calibration: Calibration | None, model: ModelIdentity | None) -> Calibration | None:
    """The calibration, if it was made with this model; another engine's is used with a warning, for its ``caveat``."""
    if calibration is None or model is None:
        return calibration
    if calibration.model_sha256 != model.sha256:
        raise CalibrationError(
            f"the calibration is not of run {model.run}",
            expected=f"model sha256 {model.sha256[:12]}",
            got=f"model sha256 {calibration.model_sha256[:12]}",
            remedy="run `clipada calibrate` again, or delete the run's calibration.json",
        )
    if (said := calibration.caveat(model.engine)) is not None:
        log.warning("%s", said)
    return calibration
