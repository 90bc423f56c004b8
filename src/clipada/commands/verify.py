"""Comparison of a run folder with its manifest, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipada.calibration import find_calibration
from clipada.errors import RunError
from clipada.runs import (
    CALIBRATION,
    MANIFEST,
    PLAN,
    CheckedFile,
    Manifest,
    check_files,
    find_manifest,
    read_run,
    require_readable,
    seal,
    writing_into,
)
from clipada.runs.hub import fetch_run, is_hub_name


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The files of a run that decide its verdicts, beside its manifest.

    Attributes:
        folder: The run folder.
        manifest_sha256: Hash of the manifest, as verdicts name it; ``None`` for a run that is not sealed.
        files: Every file that is listed, or would decide a verdict.
    """

    folder: Path
    manifest_sha256: str | None
    files: tuple[CheckedFile, ...]

    @property
    def intact(self) -> bool:
        """True if the run is sealed, and each file is the one that it was sealed with."""
        return self.manifest_sha256 is not None and all(one.state == "unchanged" for one in self.files)


def verify(run: Path | str, *, seal: bool = False) -> Verification:
    """Compare every file of a run that decides a verdict with the run's manifest.

    Args:
        run: The run folder, or ``owner/name`` of a run on the Hugging Face hub.
        seal: Accept the files as they are: write a new manifest of them.

    Returns:
        The files. With ``seal``, beside the manifest before, and the hash of the new one.

    Raises:
        RunError: There is no finished run; or with ``seal``, it is damaged, or another program writes there.
        CalibrationError: With ``seal``, the calibration is damaged.
    """
    if not is_hub_name(run):
        return _sealed(Path(run)) if seal else _verified(Path(run))
    if seal:
        remedy = f"seal the folder it was pushed from with `clipada verify RUN --seal`, and push that to {run}"
        raise RunError(f"run {run} is on the hub", expected="a run folder", got="a name", remedy=remedy)
    return _verified(fetch_run(str(run)))


def _verified(folder: Path) -> Verification:
    """Compare the files of a run folder with its manifest."""
    manifest = find_manifest(folder)
    if manifest is None:
        read_run(folder)  # an error unless it is a run of a version that did not seal it
    files = tuple(check_files(folder, manifest or Manifest({})))
    sha256 = None if manifest is None else manifest.sha256
    return Verification(folder=folder, manifest_sha256=sha256, files=files)


def _sealed(folder: Path) -> Verification:
    """Seal a run folder, and compare its files with the manifest before."""
    require_readable(folder)
    with writing_into(folder):
        find_calibration(folder / CALIBRATION)
        try:
            before = find_manifest(folder) or Manifest({})
        except RunError:  # damaged: that is one reason to write it again
            before = Manifest({})
        else:
            _require_finished(folder)
        files = tuple(check_files(folder, before))
        return Verification(folder=folder, manifest_sha256=seal(folder).sha256, files=files)


def _require_finished(folder: Path) -> None:
    """Refuse to seal a run whose training was killed before it sealed the run itself."""
    if (folder / PLAN).exists() and not (folder / MANIFEST).exists():
        remedy = f"finish it with `clipada train --resume --out {folder}`, which seals it"
        raise RunError(f"the training of {folder} is unfinished", expected="a finished run", remedy=remedy)
