"""The calibration of a run, checked against its manifest."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from clipada.calibration import Calibration, find_calibration
from clipada.errors import CalibrationError, RunError
from clipada.runs.contents import CALIBRATION
from clipada.runs.description import Run
from clipada.runs.manifest import find_manifest
from clipada.runs.verification import require_sealed

log = logging.getLogger(__name__)

_ATTEMPTS = 3
"""Number of times that a calibration is read if others replace it meanwhile."""


def load_calibration(run: Run) -> tuple[Calibration | None, Run]:
    """Read the calibration that is now in a run's folder, if there is one.

    Returns:
        The calibration, and the run whose manifest names its file. The manifest's other entries stay those of ``run``:
        they name the files that a loaded model was read from.

    Raises:
        CalibrationError: The calibration is damaged.
        RunError: It is not the one that the run is sealed with, or the manifest is damaged.
    """
    for attempt in range(_ATTEMPTS):
        present = run.present()
        calibration = find_calibration(run.folder / CALIBRATION)
        try:
            require_sealed(present, CALIBRATION)
        except RunError:
            if attempt == _ATTEMPTS - 1 or present.manifest == find_manifest(run.folder):
                raise
        else:
            break
    if run.manifest is None or present.manifest is None:
        return calibration, run
    entry = {CALIBRATION: present.manifest.files.get(CALIBRATION)}
    return calibration, replace(run, manifest=run.manifest.changed(entry))


def usable_calibration(run: Run) -> Calibration | None:
    """Return the calibration in a run's folder if it can be used, else log the reason."""
    try:
        present = find_calibration(run.folder / CALIBRATION)
        if present is not None:
            require_same_model(present, run.folder / CALIBRATION, run)
    except CalibrationError as error:
        log.warning("the present calibration is not kept: %s", error.what)
        return None
    return present


def require_same_model(calibration: Calibration, path: Path, run: Run) -> None:
    """Raise ``CalibrationError`` if a calibration is of another model."""
    if calibration.model_sha256 != run.model_sha256:
        changed = bool(run.training.changes)
        raise CalibrationError(
            f"{path} is not of run {run.label}" + (", whose memory has changed since" if changed else ""),
            expected=f"model sha256 {run.model_sha256[:12]}",
            got=f"model sha256 {calibration.model_sha256[:12]}",
            remedy="name IMAGES of good parts to calibrate again"
            + ("; they must not be in the memory, and cannot be cross-fitted" if changed else ""),
        )
