"""The command ``verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from clipada.cli.options import RunOrName
from clipada.cli.terminal import is_read_by_person, out_console, say

if TYPE_CHECKING:
    from clipada.commands.verify import Verification


def verify(
    run: RunOrName,
    seal: Annotated[
        bool, typer.Option("--seal", help="Accept the files as they are: write a new manifest of them.")
    ] = False,
) -> None:
    """Check that a run folder is as it was sealed: every file that decides a verdict, by its hash."""
    from clipada.commands import verify as command

    found = command.verify(run, seal=seal)
    _print(found)
    if found.manifest_sha256 is None:
        say("the run is not sealed: it was trained by an earlier version", style="yellow")
        say(f"next: clipada verify {run} --seal")
    else:
        say(f"{'sealed' if seal else 'manifest'}: sha256 {found.manifest_sha256}")
    differing = sum(one.state != "unchanged" for one in found.files)
    if seal:
        say(f"{len(found.files) - differing} files as before, {differing} accepted as they are now")
    elif not found.intact:
        raise typer.Exit(1)
    else:
        say(f"{len(found.files)} files, all as the run was sealed")


def _print(found: Verification) -> None:
    """Print each file: a table on a terminal, a line each for other programs."""
    sealed = found.manifest_sha256 is not None
    rows = [(one.name, one.state if sealed else "not sealed", str(one.expected or ""), one.got) for one in found.files]
    if not is_read_by_person():
        for name, *words in rows:
            out_console.print(f"{name}: {'; '.join(filter(None, words))}", soft_wrap=True)
        return
    table = Table(box=None)
    for head in ("file", "state", "sealed with", "found"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out_console.print(table)
