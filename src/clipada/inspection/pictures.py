"""The pictures of a verdict on the disk: its overlay and its anomaly map."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from clipada.files import fitting_name
from clipada.images import write_png
from clipada.inspection.overlays import dimmed, map_to_16bit, overlay
from clipada.types import Verdict

log = logging.getLogger(__name__)

OVERLAY = ".overlay.png"
MAP = ".map.png"

_ERRORS_OF_A_NAME = (
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
)
"""Errors of one file's name or place; others, such as a full disk, concern every file."""


def is_picture(name: str) -> bool:
    """Return True for the name of a file that ``write_pictures`` writes."""
    return name.endswith((OVERLAY, MAP))


def write_pictures(folder: Path, name: str, verdict: Verdict) -> None:
    """Write an image's overlay and its 16-bit map, each atomically.

    An image name that is too long with the ending is cut and gets a hash. If the file system does not accept the place
    of an image's pictures, for example because a file has the name of their folder, this is logged.

    Raises:
        OSError: The folder cannot be written to.
    """
    place = folder / name
    try:
        picture = overlay(dimmed(verdict.image, verdict.inside), verdict.anomaly_map, verdict.threshold)
        write_png(place.with_name(fitting_name(place.name, OVERLAY)), picture)
        write_png(place.with_name(fitting_name(place.name, MAP)), map_to_16bit(verdict.anomaly_map))
    except OSError as error:
        if error.errno not in _ERRORS_OF_A_NAME:
            raise
        log.warning("no pictures of %s in %s: %s", name, folder, error.strerror)
