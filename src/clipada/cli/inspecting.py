"""Commands that look at images with a run: evaluate, calibrate, predict."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.arguments import (
    Backbone,
    BatchSize,
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
    engine_config,
)
from clipada.cli.terminal import print_metrics, progress, read_dataset, say
from clipada.config import (
    CalibrationConfig,
    CalibrationMode,
    HistoryConfig,
    Keep,
)
from clipada.errors import ConfigError

if TYPE_CHECKING:
    from clipada.serving.history import History


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
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Score a data set's test images; print and keep the metrics per category."""
    from clipada import workflows
    from clipada.bundle import METRICS, SCORES

    dataset = read_dataset(data, layout, category)
    with progress() as bar:
        task = bar.add_task("scoring", total=len(dataset.test))
        result = workflows.evaluate(
            run,
            dataset,
            backbone=backbone,
            engine=engine_config(engine, precision, device, threads, streams, shortcut),
            batch_size=batch_size,
            workers=workers,
            on_image=lambda _: bar.advance(task),
        )
    print_metrics(result)
    say(f"kept in {run / METRICS} and {run / SCORES}")


def calibrate(
    run: RunFolder,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="Good parts that were not trained on: files or folders. None: change the promise of the present "
            "calibration.",
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good parts that may be called defective.")
    ] = CalibrationConfig.false_alarm_rate,
    confidence: Annotated[
        float, typer.Option(help="Chance that the promise holds, in conditional mode.")
    ] = CalibrationConfig.confidence,
    mode: Annotated[
        CalibrationMode, typer.Option(help="This calibration's own rate, or the mean over calibrations.")
    ] = CalibrationConfig.mode,
    per: Annotated[
        str | None,
        typer.Option(help="Thresholds of its own for each product, folder, or match of a regex in the path."),
    ] = None,
    backbone: Backbone = None,
    engine: Engine = None,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    shortcut: Shortcut = False,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Set thresholds that keep a false-alarm rate, from good parts alone."""
    from clipada.bundle import CALIBRATION
    from clipada.calibrating import calibrate as calibrated
    from clipada.report import calibration_summary

    settings = CalibrationConfig(false_alarm_rate=false_alarm_rate, confidence=confidence, mode=mode, per=per)
    with progress() as bar:
        task = bar.add_task("calibrating", total=None)
        report = calibrated(
            run,
            images or (),
            settings,
            backbone=backbone,
            engine=engine_config(engine, precision, device, threads, streams, shortcut),
            batch_size=batch_size,
            workers=workers,
            on_image=lambda: bar.advance(task),
        )
    for failure in report.failures:
        say(f"left out: {failure.error}", style="yellow")
    for reason, paths in (("trained on", report.trained_on), ("a copy of another", report.copies)):
        if paths:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            say(f"left out, {reason}: {', '.join(map(str, paths[:3]))}{more}", style="yellow")
    for line in calibration_summary(report.calibration):
        say(line)
    say(f"kept in {run / CALIBRATION}")


def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files or folders.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write overlays, 16-bit maps and predictions.jsonl here.")
    ] = None,
    backbone: Backbone = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = None,
    engine: Engine = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Also store verdicts here, e.g. sqlite:///history.db.")
    ] = None,
    keep_images: Annotated[
        Keep, typer.Option(help="With --database, which images to keep, in clipada-images.")
    ] = HistoryConfig.keep,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    shortcut: Shortcut = False,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Inspect images: one JSON line each on standard output."""
    from clipada import workflows
    from clipada.types import Failure

    unreadable = count = defective = 0
    calibrated = False
    history = _history(database, keep_images)
    for result in workflows.predict(
        run,
        images,
        out,
        backbone=backbone,
        engine=engine_config(engine, precision, device, threads, streams, shortcut),
        threshold=threshold,
        batch_size=batch_size,
        workers=workers,
    ):
        sys.stdout.write(json.dumps(workflows.prediction_record(result)) + "\n")
        count += 1
        if isinstance(result, Failure):
            unreadable += 1
            say(f"left out: {result.error}", style="yellow")
        else:
            defective += bool(result.defective)
            calibrated = result.calibration is not None
            if history is not None:
                history.store([result])
    where = f"; pictures in {out}" if out else ""
    found = f", {defective} defective" if calibrated else ""
    say(f"inspected {count - unreadable} images{found}, left out {unreadable}{where}")
    if unreadable == count:
        raise typer.Exit(1)


def _history(database: str | None, keep: Keep) -> History | None:
    """The history to store verdicts in, if one is named."""
    if database is None and keep != "none":
        raise ConfigError("images are kept beside their verdicts", got="no --database", remedy="pass --database URL")
    if database is None:
        return None
    from clipada.serving.history import History

    return History(HistoryConfig(database=database, keep=keep))
