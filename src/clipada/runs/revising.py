"""Steps from one revision of a run to the next, and back. Each holds the lock of the run folder: ``runs.writing``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipada.calibration import find_calibration, read_calibration
from clipada.errors import CalibrationError, RunError
from clipada.files import json_text, read_json, write_text
from clipada.runs.contents import BEFORE, CALIBRATION, CONFIG, REVISIONS
from clipada.runs.description import COPY_AGAIN, Run, read_run
from clipada.runs.manifest import SealedFile
from clipada.runs.sealing import changing, remove_folder, replace_folder
from clipada.runs.verification import require_sealed


def next_revision(run: Run) -> int:
    """Return the number of the next revision, from 1."""
    changes = run.training.changes
    return 1 + (changes[-1].revision if changes else 0)


@contextmanager
def writing_revision(run: Run) -> Iterator[Path]:
    """Give an empty folder for the files of the next revision; move it to its place when the block ends.

    The run stays as it is until ``put_in_force``: a folder that nothing names is written again by the next revision.
    """
    final = run.folder / REVISIONS / str(next_revision(run))
    aside = final.with_name(f".{final.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.copyfile(run.folder / CONFIG, aside / BEFORE)
        if (run.folder / CALIBRATION).is_file():
            shutil.copyfile(run.folder / CALIBRATION, aside / CALIBRATION)
        replace_folder(run.folder, aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_force(run: Run, values: Mapping[str, Any], training: Mapping[str, Any]) -> Run:
    """Give ``config.json`` other values, which name the revision that is in force from then on.

    Args:
        run: The run as it was.
        values: The values by their names in ``config.json``.
        training: Values of its record of the training.
    """
    content = read_json(run.folder / CONFIG, COPY_AGAIN)
    content |= {**values, "training": {**content["training"], **training}}
    _replace_config(run.folder, json_text(content))
    return read_run(run.folder)


def undo_revision(run: Run) -> Run:
    """Put the revision before the present one in force again, with its calibration, and remove the present one.

    Raises:
        RunError: The memory is that of the training, or the revision before is not in the folder.
    """
    if run.revision is None:
        raise RunError(
            f"run {run.folder} has nothing to undo",
            expected="a memory that `clipada add` or `clipada remove` has changed",
            got="the memory of its training",
        )
    name = f"{run.revision.folder}/{BEFORE}"
    require_sealed(run, name)
    try:
        before = (run.folder / name).read_text(encoding="utf-8")
    except OSError as error:
        what = f"the revision before the present one of run {run.folder} is not there"
        raise RunError(what, expected=name, got=error.strerror, remedy=COPY_AGAIN) from error
    _restore_calibration(read_run(run.folder, config=name), run.revision.folder)  # first: a killed undo is repeated
    _replace_config(run.folder, before)
    remove_folder(run.folder, run.folder / run.revision.folder)
    return read_run(run.folder)


def _restore_calibration(run: Run, folder: str) -> None:
    """Put the calibration that a revision found back, if it is of the model and the present one is not."""
    name = f"{folder}/{CALIBRATION}"
    if not (run.folder / name).is_file():
        return
    require_sealed(run, name)
    kept, text = read_calibration(run.folder / name), (run.folder / name).read_text(encoding="utf-8")
    with suppress(CalibrationError):  # a damaged one is not kept
        present = find_calibration(run.folder / CALIBRATION)
        if present is not None and present.model_sha256 == run.model_sha256:
            return
    if kept.model_sha256 == run.model_sha256:
        with changing(run.folder, {CALIBRATION: SealedFile.of_text(text)}):
            write_text(run.folder / CALIBRATION, text)


def _replace_config(folder: Path, content: str) -> None:
    """Replace ``config.json``, which is the whole step from one revision to another."""
    with changing(folder, {CONFIG: SealedFile.of_text(content)}):
        write_text(folder / CONFIG, content)
