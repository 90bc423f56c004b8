"""Pictures of stored verdicts that are still to be written, recorded in their folder so that no error loses them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from clipada.files import ensure_folder, write_json
from clipada.history.watching.seen import Stamp
from clipada.inspection.pictures import write_pictures
from clipada.types import Failure, Verdict

log = logging.getLogger(__name__)

UNWRITTEN = ".unwritten.json"
"""File that lists the images of the batch whose pictures are being written."""


class PictureFolder:
    """Writes the pictures of a watched folder's images, in the folder's own structure.

    Before a batch of verdicts is stored, its images are recorded in ``UNWRITTEN``; the record is deleted when all their
    pictures are on the disk. What an error or a kill left over is found at the next start.

    Args:
        out: The folder for pictures.
        watched: The watched folder.

    Raises:
        RunError: ``out`` cannot be created.
    """

    def __init__(self, out: Path, watched: Path) -> None:
        self.out = ensure_folder(out)
        self._watched = watched.absolute()
        self._record = out / UNWRITTEN

    def plan(self, stamps: Iterable[Stamp]) -> None:
        """Record images whose verdicts are about to be stored; those recorded earlier stay."""
        rows = [(os.fsdecode(stamp.path), stamp.size, stamp.mtime_ns) for stamp in {*self.left_over(), *stamps}]
        write_json(self._record, {"images": rows})

    def write(self, results: Iterable[Verdict | Failure]) -> None:
        """Write the pictures of a batch, and forget its record.

        Raises:
            OSError: The folder cannot be written to; the record stays.
        """
        for result in results:
            if isinstance(result, Verdict) and result.path is not None:
                write_pictures(self.out, str(result.path.relative_to(self._watched)), result)
        self._record.unlink(missing_ok=True)

    def left_over(self) -> list[Stamp]:
        """Return the recorded images of this watched folder whose pictures may be missing."""
        if not self._record.exists():
            return []
        try:
            rows = json.loads(self._record.read_text(encoding="utf-8"))["images"]
            stamps = [Stamp(path=Path(path), size=int(size), mtime_ns=int(time)) for path, size, time in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged, pictures of the last batch may be missing: %s", self._record, error)
            return []
        return [stamp for stamp in stamps if stamp.path.is_relative_to(self._watched)]
