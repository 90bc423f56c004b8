"""Commands that look at images with a run: evaluate, calibrate, predict."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.arguments import (
    Backbone,
    BatchSize,
    Category,
    Database,
    DataFolder,
    Device,
    Engine,
    KeepImages,
    Layout,
    Mqtt,
    Precision,
    RunFolder,
    Secret,
    Shortcut,
    Streams,
    Threads,
    Webhook,
    Workers,
)
from clipada.cli.terminal import Counts, print_metrics, progress, read_dataset, say, tell
from clipada.config import (
    CalibrationConfig,
    CalibrationMode,
    EngineConfig,
    EngineName,
    EnginePrecision,
    HistoryConfig,
    Keep,
    SinkConfig,
)
from clipada.errors import ConfigError

if TYPE_CHECKING:
    from clipada.serving.line import Line


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
    database: Database = None,
    keep_images: KeepImages = HistoryConfig.keep,
    webhook: Webhook = None,
    webhook_secret: Secret = None,
    mqtt: Mqtt = None,
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
    from clipada.types import Verdict

    sinks = SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt)
    counts = Counts()
    with _line(run, database, keep_images, sinks) as line:
        for result in workflows.predict(
            run,
            images,
            out,
            backbone=backbone,
            engine=engine_config(engine, precision, device, threads, streams, shortcut),
            threshold=threshold,
            batch_size=batch_size,
            workers=workers,
            watch_drift=line is None,
        ):
            if line is not None and isinstance(result, Verdict):
                line.history.store([result])
            tell(result, counts)
        if line is not None:
            line.warn_of_drift()
            line.finish()
    say(f"{counts}; pictures in {out}" if out else str(counts))
    if not counts.inspected:
        raise typer.Exit(1)


def engine_config(
    name: EngineName | None,
    precision: EnginePrecision | None,
    device: str,
    threads: int | None,
    streams: int,
    shortcut: bool,
) -> EngineConfig:
    """The engine's settings, from a command's options."""
    return EngineConfig(
        name=name, precision=precision, device=device, threads=threads, streams=streams, shortcut=shortcut
    )


def _line(run: Path, database: str | None, keep: Keep, sinks: SinkConfig) -> AbstractContextManager[Line | None]:
    """Where verdicts go beside the standard output, if a database is named."""
    for what, asked in (("images are kept", keep != "none"), ("verdicts wait for sinks", sinks.any)):
        if asked and database is None:
            raise ConfigError(f"{what} beside stored verdicts", got="no --database", remedy="pass --database URL")
    if database is None:
        return nullcontext()
    from clipada.bundle import CALIBRATION
    from clipada.calibration import read_calibration
    from clipada.serving.line import Line

    path = run / CALIBRATION
    calibration = read_calibration(path) if path.exists() else None
    return Line(calibration, HistoryConfig(database=database, keep=keep), sinks)
