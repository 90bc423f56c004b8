"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import Backbone, Category, Layout, RunFolder
from clipada.cli.terminal import read_dataset, say, stages
from clipada.config import EnginePrecision, ExportConfig, RuntimeName


def export(
    run: RunFolder,
    engine: Annotated[RuntimeName, typer.Option(help="The runtime to export for.")] = ExportConfig.engine,
    precision: Annotated[EnginePrecision, typer.Option(help="Arithmetic of the export.")] = ExportConfig.precision,
    data: Annotated[
        Path | None,
        typer.Option(help="Images to compare on and to calibrate int8; by default the training's data."),
    ] = None,
    layout: Layout = "auto",
    category: Category = None,
    backbone: Backbone = None,
    shortcut_error: Annotated[
        float | None,
        typer.Option(
            min=0.0, help=f"Largest change by shortcut or cascade; {ExportConfig.shortcut_error:g} by default."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the export even if it differs too much.")] = False,
) -> None:
    """Write the run for a machine without PyTorch; refuse unless it agrees with PyTorch on real images."""
    from clipada.commands.export import export as export_run

    dataset = None if data is None else read_dataset(data, layout, category)
    config = ExportConfig() if shortcut_error is None else ExportConfig(shortcut_error=shortcut_error)
    with stages() as report:
        folder, parity = export_run(
            run, engine, precision, dataset, backbone=backbone, config=config, force=force, report=report
        )
    for line in parity.describe():
        say(line)
    say(f"export in {folder}")
    say(f"next: clipada predict {run} IMAGES --engine {engine} --precision {precision}")
