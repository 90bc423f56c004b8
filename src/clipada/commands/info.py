"""Summarize a run."""

from __future__ import annotations

from pathlib import Path

from clipada.report import (
    run_summary,
)
from clipada.runs import read_run


def info(run: Path | str) -> dict[str, str]:
    """Describe a run as names and values: settings, backbone, training, metrics.

    Raises:
        RunError: The run folder is incomplete.
    """
    return run_summary(read_run(Path(run)))
