"""Commands that tell of a run or carry it elsewhere: report, export, push, info."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from clipada.cli.arguments import Backbone, BatchSize, Category, Device, Engine, Layout, Precision, RunFolder, Workers
from clipada.cli.terminal import console, out_console, read_dataset, say
from clipada.config import EnginePrecision, ExportConfig, RuntimeName


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
    from clipada import workflows

    result = workflows.report_run(
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


def export(
    run: RunFolder,
    engine: Annotated[RuntimeName, typer.Option(help="The runtime to export for.")] = "onnx",
    precision: Annotated[EnginePrecision, typer.Option(help="Arithmetic of the export.")] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(help="Images to compare on, and to calibrate int8; where the run was trained by default."),
    ] = None,
    layout: Layout = "auto",
    category: Category = None,
    backbone: Backbone = None,
    shortcut_error: Annotated[
        float | None,
        typer.Option(min=0.0, help="What shortcut and cascade may change, 0..1; 0.05 by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the export although it differs too much.")] = False,
) -> None:
    """Write the run for a machine without PyTorch; refuse unless it agrees with PyTorch on real images."""
    from clipada.exporting import export as export_run

    dataset = None if data is None else read_dataset(data, layout, category)
    config = ExportConfig() if shortcut_error is None else ExportConfig(shortcut_error=shortcut_error)
    with console.status("exporting and comparing"):
        folder, parity = export_run(run, engine, precision, dataset, backbone=backbone, config=config, force=force)
    for line in parity.describe():
        say(line)
    say(f"export in {folder}")
    say(f"next: clipada predict {run} IMAGES --engine {engine} --precision {precision}")


def push(
    run: RunFolder,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private by default.")] = False,
    exports: Annotated[
        bool, typer.Option("--exports", help="The run's exports too; they hold the backbone's weights.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="The branch; main by default.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Its identifier for the model card, e.g. apache-2.0.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Only write the folder that would be uploaded, here; nothing is sent.")
    ] = None,
) -> None:
    """Upload the run to the Hugging Face hub, with a model card and without this machine's paths."""
    from clipada import publishing

    if out is not None:
        folder = publishing.save_pretrained(run, out, exports=exports, name=name, license=licence)
        say(f"what would be uploaded is in {folder}")
        say(f"next: hf upload {name} {folder}")
        return
    with console.status("uploading"):
        url = publishing.push_to_hub(run, name, private=not public, exports=exports, revision=revision, license=licence)
    say(f"the run is at {url}")
    say(f"next: clipada predict {name} IMAGES")


def info(run: RunFolder) -> None:
    """Show what a run is: settings, backbone, training, metrics."""
    from clipada import workflows

    facts = workflows.info(run)
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
