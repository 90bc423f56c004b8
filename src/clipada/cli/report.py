"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import BatchSize, RunFolder, Workers, takes_engine_options
from clipada.cli.terminal import say
from clipada.config import BatchConfig, EngineOptions


@takes_engine_options
def report(
    run: RunFolder,
    verdicts: Annotated[
        Path | None,
        typer.Argument(metavar="[VERDICTS]", help="JSON lines of `clipada predict`, or its --out folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file, or a folder for it; in RUN or beside VERDICTS by default.")
    ] = None,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    *,
    engine: EngineOptions,
) -> None:
    """Write one self-contained HTML file: what was found and missed, the worst cases, metrics; and a CSV beside it."""
    from clipada.commands import report as command

    result = command.report_run(run, verdicts, out, batch_size=batch_size, workers=workers, engine=engine)
    for failure in result.failures:
        say(f"not shown: {failure.error}", style="yellow")
    for figure in result.headline.figures:
        say(f"{figure.label}: {figure.value} ({figure.note})")
    for sentence in result.headline.sentences:
        say(sentence)
    not_shown = f", {len(result.failures)} of those chosen not shown" if result.failures else ""
    say(f"reported {result.parts} images{not_shown}")
    say(f"the report is {result.path}, each part is in {result.listing}")
