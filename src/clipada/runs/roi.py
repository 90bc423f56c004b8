"""The file of a run's regions of interest. No PyTorch."""

from __future__ import annotations

from pathlib import Path

from clipada.errors import ConfigError
from clipada.files import read_json, write_json
from clipada.images.roi import RegionsOfInterest
from clipada.runs.contents import ROI
from clipada.runs.description import COPY_AGAIN, Run
from clipada.runs.records import damaged


def write_roi(folder: Path, regions: RegionsOfInterest) -> None:
    """Write the regions of interest into a run folder."""
    write_json(folder / ROI, regions.to_dict())


def read_roi(folder: Path) -> RegionsOfInterest | None:
    """Read the regions of interest in a run folder, finished or not; ``None`` if it has none.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / ROI
    if not path.is_file():
        return None
    try:
        return RegionsOfInterest.from_dict(read_json(path, COPY_AGAIN))
    except ConfigError as error:
        raise damaged(path, error, COPY_AGAIN) from error


def load_roi(run: Run) -> RegionsOfInterest | None:
    """Read a run's regions of interest after checking that the file has not changed; ``None`` if it has none.

    Raises:
        RunError: The file is missing, damaged, or not the one that the run was trained with.
    """
    if run.roi_sha256 is None:
        return None
    run.verified(ROI, run.roi_sha256)
    return read_roi(run.folder)
