"""The command ``evaluate``."""

from __future__ import annotations

from clipada.cli.options import (
    Backbone,
    BatchSize,
    Cascade,
    Category,
    DataFolder,
    Device,
    Engine,
    Layout,
    Precision,
    RunFolder,
    Shortcut,
    Streams,
    Threads,
    Workers,
    engine_options,
)
from clipada.cli.terminal import print_metrics, progress, read_dataset, say


def evaluate(
    run: RunFolder,
    data: DataFolder,
    backbone: Backbone = None,
    layout: Layout = "auto",
    category: Category = None,
    engine: Engine = None,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    shortcut: Shortcut = False,
    cascade: Cascade = False,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Score a data set's test images; print and keep the metrics per category."""
    from clipada.commands import evaluate as command
    from clipada.runs import METRICS, SCORES

    dataset = read_dataset(data, layout, category)
    with progress() as bar:
        task = bar.add_task("scoring", total=len(dataset.test))
        result = command.evaluate(
            run,
            dataset,
            backbone=backbone,
            engine=engine_options(engine, precision, device, threads, streams, shortcut, cascade),
            batch_size=batch_size,
            workers=workers,
            on_image=lambda _: bar.advance(task),
        )
    print_metrics(result)
    say(f"kept in {run / METRICS} and {run / SCORES}")
