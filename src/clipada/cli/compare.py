"""Command ``compare``: a run beside other runs and baselines on the same test images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from clipada.cli.errors import continuing, require_run_first
from clipada.cli.options import BatchSize, Category, DataFolder, Layout, RunFolder, Workers, takes_engine_options
from clipada.cli.terminal import out_console, read_dataset, say, stages
from clipada.config import BaselinesConfig, BatchConfig, EngineOptions

if TYPE_CHECKING:
    from clipada.research.comparison import ComparedMethod


@takes_engine_options
def compare(
    run: RunFolder,
    data: DataFolder,
    *,
    out: Annotated[Path, typer.Option(help="The folder for the results; finished methods are reused.")],
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="anomaly-dino, patchcore, memory-bank, reconstruction, draem, zero-shot, or none; with settings in "
            "quotes: 'anomaly-dino block=6 shots=0'. May be repeated; by default the first two.",
        ),
    ] = None,
    other: Annotated[list[Path] | None, typer.Option("--run", help="Another run folder; may be repeated.")] = None,
    preset: Annotated[
        str, typer.Option(help="Networks of reconstruction and draem: prompt, small ones, or mvtec, the papers'.")
    ] = "prompt",
    resamples: Annotated[int, typer.Option(min=1, help="Draws of the test images behind the intervals.")] = 1000,
    layout: Layout = "auto",
    category: Category = None,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    engine: EngineOptions,
) -> None:
    """Compare a run with baselines and other runs on a data set's test images, with paired intervals."""
    from clipada.commands import compare as command

    require_run_first(run, [data], "compare RUN DATA --out OUT")
    dataset = read_dataset(data, layout, category)
    asked = command.DEFAULT_BASELINES if baseline is None else [name for name in baseline if name != "none"]
    with continuing("the same command continues"), stages() as report:
        made = command.compare(
            run,
            dataset,
            out,
            runs=other or (),
            baselines=asked,
            settings=BaselinesConfig.preset(preset),  # type: ignore[arg-type]
            resamples=resamples,
            batch_size=batch_size,
            workers=workers,
            report=report,
            engine=engine,
        )
    _print_comparison(made.rows)
    say("percent; below it: the first method minus this one in points, and the interval of 95 %")
    for path in made.files:
        say(f"wrote {path}")


def _print_comparison(rows: tuple[ComparedMethod, ...]) -> None:
    from clipada.research.comparison import COLUMNS, difference, percent

    table = Table("method", *COLUMNS.values(), box=None)
    for row in rows:
        cells = [percent(getattr(row.mean, name)) for name in COLUMNS]
        ahead = [difference(row, name).replace(" [", "\n[") for name in COLUMNS]  # narrow enough for 80 columns
        shown = [f"{cell}\n{lead}" if lead else cell for cell, lead in zip(cells, ahead, strict=True)]
        table.add_row(Text(row.label), *map(Text, shown))
    out_console.print(table)
