"""The file of the references to which a run's images are aligned. No PyTorch."""

from __future__ import annotations

from pathlib import Path

from clipada.errors import ConfigError
from clipada.files import read_json, write_json
from clipada.images.alignment import Alignment
from clipada.runs.contents import ALIGNMENT
from clipada.runs.description import COPY_AGAIN, Run
from clipada.runs.records import damaged


def write_alignment(folder: Path, alignment: Alignment) -> None:
    """Write the references into a run folder."""
    write_json(folder / ALIGNMENT, alignment.to_dict())


def load_alignment(run: Run) -> Alignment | None:
    """Read a run's references after checking that the file has not changed; ``None`` if it has none.

    Raises:
        RunError: The file is missing, damaged, or not the one that the run was trained with.
    """
    if run.alignment_sha256 is None:
        return None
    path = run.verified(ALIGNMENT, run.alignment_sha256)
    try:
        return Alignment.from_dict(read_json(path, COPY_AGAIN))
    except ConfigError as error:
        raise damaged(path, error, COPY_AGAIN) from error
