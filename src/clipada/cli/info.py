"""The command ``info``."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from clipada.cli.options import RunFolder
from clipada.cli.results import GOOD_PARTS
from clipada.cli.terminal import is_read_by_person, out_console, say


def info(run: RunFolder) -> None:
    """Show what a run is: settings, backbone, training, metrics."""
    from clipada.commands import info as command

    facts = command.info(run)
    if not is_read_by_person():  # a line each, however long, for other programs
        for name, value in facts.items():
            out_console.print(f"{name}: {value}", soft_wrap=True)
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    out_console.print(table)
    say(f"next: {_next_command(run)}")


def _next_command(run: Path) -> str:
    """Return the command that goes on from what the run folder holds."""
    from clipada.commands.add import stale_files
    from clipada.runs import CALIBRATION, METRICS, read_run

    stale = stale_files(read_run(run))
    if CALIBRATION in stale or not (run / CALIBRATION).is_file():
        return f"clipada calibrate {run} {GOOD_PARTS}"
    if METRICS in stale or not (run / METRICS).is_file():
        return f"clipada evaluate {run} PHOTOS"
    return f"clipada predict {run} NEW-PARTS --out out"
