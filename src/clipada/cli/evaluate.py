"""The command ``evaluate``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import BatchSize, Category, DataFolder, Layout, RunFolder, Workers, takes_engine_options
from clipada.cli.results import GOOD_PARTS, print_decisions, print_metrics, say_not_calibrated
from clipada.cli.terminal import read_dataset, say, stages, working
from clipada.config import BatchConfig, ComparedAt, EngineOptions
from clipada.errors import RunError
from clipada.files import require_writable


@takes_engine_options
def evaluate(
    run: RunFolder,
    data: DataFolder,
    *,
    layout: Layout = "auto",
    category: Category = None,
    at: Annotated[
        ComparedAt,
        typer.Option(help="Size at which maps are compared with masks: the model's, or native: each image's own."),
    ] = "model",
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    product_given: Annotated[
        bool,
        typer.Option("--product-given", help="Give a model with a memory each image's product, which it finds itself."),
    ] = False,
    engine: EngineOptions,
) -> None:
    """Score a data set's test images; print and keep metrics, and which kinds of defects are found and missed."""
    with working("starting"):
        from clipada.commands import evaluate as command
    from clipada.runs import METRICS, SCORES, load_calibration, read_run, writing_into

    require_run_first(run, [data], "evaluate RUN IMAGES")
    dataset, description = read_dataset(data, layout, category), read_run(run)
    with ExitStack() as writing:
        refusal = _refusal(run)
        if refusal is None:
            writing.enter_context(writing_into(run))
        else:
            say(f"the metrics will be printed, but not kept: {refusal}", style="yellow")
        with continuing(f"nothing was kept, {again()} starts again"), stages() as show:
            result = command.measure(
                description,
                dataset,
                at=at,
                batch_size=batch_size,
                workers=workers,
                product_given=product_given,
                report=show,
                engine=engine,
            )
        print_metrics(result)
        if (found := result.protocol.get("product")) and not found["given"]:
            say(f"product found by itself: right in {found['images'] - found['wrong']} of {found['images']} images")
        calibration = None if result.decisions is None else load_calibration(description)[0]
        if result.decisions is not None and calibration is not None:
            print_decisions(result.decisions, calibration.settings.false_alarm_rate)
        if refusal is not None:
            raise refusal
        command.keep_metrics(description, result)
    say(f"kept in {run / METRICS} and {run / SCORES}")
    if result.decisions is None:
        say_not_calibrated(run, "no part is found or missed yet")
        say(f"next: clipada calibrate {run} {GOOD_PARTS}")
    else:
        say(f"next: clipada predict {run} NEW-PARTS --out out")


def _refusal(run: Path) -> RunError | None:
    """Return the error if the run folder cannot be written to."""
    try:
        require_writable(run)
    except RunError as error:
        return error
    return None
