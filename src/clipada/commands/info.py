"""Summarize a run."""

from __future__ import annotations

from pathlib import Path

from clipada.report import run_summary
from clipada.runs import read_run


def info(run: Path | str) -> dict[str, str]:
    """Describe a run as names and values: settings, backbone, training, metrics, and the hash of its manifest.

    Raises:
        RunError: The run folder is incomplete.
    """
    description = read_run(Path(run))
    sealed = description.manifest_sha256
    return run_summary(description) | {"manifest": f"sha256 {sealed}" if sealed else "none: the run is not sealed"}
