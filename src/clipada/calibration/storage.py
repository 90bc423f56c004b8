"""The files of calibrations in a run folder: the present one, and the one before it for an undo."""

from __future__ import annotations

from pathlib import Path

from clipada.calibration.record import AGAIN, FORMAT, Calibration
from clipada.config.schema import shown
from clipada.errors import CalibrationError, ConfigError, RunError
from clipada.files import read_json, write_json


def previous_path(path: Path) -> Path:
    """Return the file of the calibration before the one in ``path``: ``calibration.previous.json``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_calibration(path: Path, calibration: Calibration, present: Calibration | None = None) -> None:
    """Write a calibration atomically, after the present one was stored as the previous one.

    A process that is killed in between leaves the present calibration in both files.

    Args:
        path: The file ``calibration.json``.
        calibration: The new calibration.
        present: The calibration in ``path``, to be kept; ``None`` if there is none that can be used.
    """
    if present is not None and present.id != calibration.id:
        write_json(previous_path(path), present.to_dict())
    write_json(path, calibration.to_dict())


def swap_calibrations(path: Path, previous: Calibration, present: Calibration | None) -> None:
    """Write the previous calibration to ``path``, then the present one, if any, to the file of the previous one.

    A process that is killed in between leaves the previous calibration in both files.
    """
    write_json(path, previous.to_dict())
    if present is not None:
        write_json(previous_path(path), present.to_dict())


def find_calibration(path: Path) -> Calibration | None:
    """Read the calibration in ``path`` strictly, if there is one.

    Raises:
        CalibrationError: As for ``read_calibration``, or ``path`` is a link to a file that is missing: without this
            error a guarantee would be lost unnoticed.
    """
    if path.is_symlink() and not path.exists():
        raise CalibrationError(
            f"{path} is a link to a file that is missing",
            expected="a calibration, or no such file",
            got=f"a link to {path.readlink()}",
            remedy=f"restore that file, or delete the link; then {AGAIN}",
        )
    return read_calibration(path) if path.exists() else None


def read_calibration(path: Path) -> Calibration:
    """Read a calibration strictly.

    Raises:
        CalibrationError: The file is damaged or of another format, or its thresholds do not follow from its scores.
    """
    remedy = f"delete it, then {AGAIN}"
    try:
        content = read_json(path, remedy)
        if content.get("format") != FORMAT:
            expected = f"a JSON object of format {FORMAT}"
            raise ConfigError("it is of another format", expected=expected, got=shown(content.get("format")))
        return Calibration.from_dict(content)
    except RunError as error:
        raise CalibrationError(error.what, expected=error.expected, got=error.got, remedy=error.remedy) from error
    except (ConfigError, CalibrationError) as error:
        what = f"{path} cannot be used: {error.what}"
        raise CalibrationError(what, expected=error.expected, got=error.got, remedy=error.remedy or remedy) from error
