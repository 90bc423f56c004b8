"""The command ``info``."""

from __future__ import annotations

from rich.table import Table

from clipada.cli.options import RunFolder
from clipada.cli.terminal import out_console


def info(run: RunFolder) -> None:
    """Show what a run is: settings, backbone, training, metrics."""
    from clipada.commands import info as command

    facts = command.info(run)
    if not out_console.is_terminal:  # a line each, however long, for other programs
        for name, value in facts.items():
            out_console.print(f"{name}: {value}", soft_wrap=True)
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    out_console.print(table)
