"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import Backbone, BatchSize, Device, Engine, Precision, RunFolder, Workers
from clipada.cli.terminal import say


def report(
    run: RunFolder,
    verdicts: Annotated[
        Path | None,
        typer.Argument(metavar="[VERDICTS]", help="JSON lines of `clipada predict`, or its --out folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file, or a folder for it; in RUN or beside VERDICTS by default.")
    ] = None,
    backbone: Backbone = None,
    engine: Engine = None,
    device: Device = "auto",
    precision: Precision = None,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Write one self-contained HTML file: metrics, score histograms, best and worst cases."""
    from clipada.commands import report as command

    result = command.report_run(
        run,
        verdicts,
        out,
        backbone=backbone,
        engine=engine,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
    )
    for failure in result.failures:
        say(f"not shown: {failure.error}", style="yellow")
    say(
        f"reported {result.parts} images, {len(result.failures)} of those chosen not shown; the report is {result.path}"
    )
