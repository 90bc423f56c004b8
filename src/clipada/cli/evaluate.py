"""The command ``evaluate``."""

from __future__ import annotations

from clipada.cli.options import BatchSize, Category, DataFolder, Layout, RunFolder, Workers, takes_engine_options
from clipada.cli.terminal import print_metrics, read_dataset, say, stages
from clipada.config import BatchConfig, EngineOptions


@takes_engine_options
def evaluate(
    run: RunFolder,
    data: DataFolder,
    *,
    layout: Layout = "auto",
    category: Category = None,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    engine: EngineOptions,
) -> None:
    """Score a data set's test images; print and keep the metrics per category."""
    from clipada.commands import evaluate as command
    from clipada.runs import METRICS, SCORES

    dataset = read_dataset(data, layout, category)
    with stages() as show:
        result = command.evaluate(run, dataset, batch_size=batch_size, workers=workers, report=show, engine=engine)
    print_metrics(result)
    say(f"kept in {run / METRICS} and {run / SCORES}")
