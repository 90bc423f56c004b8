"""Commands that look at images with a run: evaluate, calibrate, predict."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
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
)
from clipada.cli.terminal import print_metrics, progress, read_dataset, say
from clipada.config import (
    CalibrationConfig,
    CalibrationMode,
    EngineConfig,
    EngineName,
    EnginePrecision,
    HistoryConfig,
    Keep,
    PredictConfig,
    Shard,
)
from clipada.errors import ClipAdaError, ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

    from clipada.predicting import Job, Record
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
            engine=_engine(engine, precision, device, threads, streams, shortcut),
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
            engine=_engine(engine, precision, device, threads, streams, shortcut),
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
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Go on in --out: pass over images that have a verdict there.")
    ] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only the I-th of N shares of the images, e.g. 1/4, 2/4, 3/4, 4/4.")
    ] = str(PredictConfig.shard),
    ray: Annotated[
        bool, typer.Option("--ray", help="Inspect on Ray: the cluster that RAY_ADDRESS names, else this machine.")
    ] = False,
    backbone: Backbone = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = PredictConfig.threshold,
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
    batch_size: BatchSize = PredictConfig.batch_size,
    workers: Workers = PredictConfig.workers,
) -> None:
    """Inspect images: one JSON line each on standard output."""
    settings = PredictConfig(
        threshold=threshold,
        batch_size=batch_size,
        workers=workers,
        skip_done=skip_done,
        shard=Shard.parse(shard),
    )
    chosen = _engine(engine, precision, device, threads, streams, shortcut)
    history = _history(database, keep_images)
    with progress("{task.fields[rate]} images/s") as bar:
        if ray:
            records = _on_ray(run, images, out, settings, chosen, backbone, history)
        else:
            records = _here(run, images, out, settings, chosen, backbone, history, bar)
        count, unreadable, found = _printed(records, bar)
    where = f"; pictures in {out}" if out else ""
    say(f"inspected {count - unreadable} images{found}, left out {unreadable}{where}")
    if count and unreadable == count:
        raise typer.Exit(1)


def _here(
    run: Path,
    images: list[Path],
    out: Path | None,
    settings: PredictConfig,
    engine: EngineConfig,
    backbone: str | None,
    history: History | None,
    bar: Progress,
) -> Iterator[Record]:
    """The records of images inspected on this machine; the bar learns how many there are while they are inspected."""
    from clipada.inspector import Inspector
    from clipada.predicting import Job, find_sources
    from clipada.types import Verdict

    sources = find_sources(images, out, settings)
    inspector = Inspector.load(run, backbone=backbone, engine=engine, threshold=settings.threshold)
    job = Job(inspector, sources, out, settings)
    if not bar.disable:
        Thread(target=_count, args=(job, bar), daemon=True).start()
    for outcome in job.run():
        if history is not None and isinstance(outcome.result, Verdict):
            history.store([outcome.result])
        yield outcome.record


def _count(job: Job, bar: Progress) -> None:
    """Tell the bar how many images there are: the work of a thread, as a million take a while."""
    with suppress(ClipAdaError):  # inspecting meets it too, and says so
        bar.update(bar.task_ids[0], total=sum(1 for _ in job.todo()))


def _on_ray(
    run: Path,
    images: list[Path],
    out: Path | None,
    settings: PredictConfig,
    engine: EngineConfig,
    backbone: str | None,
    history: History | None,
) -> Iterator[Record]:
    """The records of images inspected on Ray."""
    from clipada.predicting.cluster import predict_on_ray

    if out is None:
        raise ConfigError(
            "a cluster writes into a folder", got="no --out", remedy="pass --out DIR, which all can reach"
        )
    if history is not None:
        raise ConfigError("a cluster stores no verdicts in a database", got="--database", remedy="leave out --ray")
    return predict_on_ray(run, images, out, settings, backbone=backbone, engine=engine)


def _printed(records: Iterator[Record], bar: Progress) -> tuple[int, int, str]:
    """Print each record; return how many there were, how many of them failures, and how many defects in words."""
    unreadable = count = defective = 0
    calibrated = False
    task, started = bar.add_task("inspecting", total=None, rate="-"), time.monotonic()
    for count, record in enumerate(records, start=1):
        sys.stdout.write(json.dumps(record) + "\n")
        bar.update(task, completed=count, rate=f"{count / (time.monotonic() - started):.1f}")
        if "error" in record:
            unreadable += 1
            say(f"left out: {record['error']}", style="yellow")
        else:
            defective += bool(record["defective"])
            calibrated = record["calibration"] is not None
    return count, unreadable, f", {defective} defective" if calibrated else ""


def _engine(
    name: EngineName | None,
    precision: EnginePrecision | None,
    device: str,
    threads: int | None,
    streams: int,
    shortcut: bool,
) -> EngineConfig:
    return EngineConfig(
        name=name, precision=precision, device=device, threads=threads, streams=streams, shortcut=shortcut
    )


def _history(database: str | None, keep: Keep) -> History | None:
    """The history to store verdicts in, if one is named."""
    if database is None and keep != "none":
        raise ConfigError("images are kept beside their verdicts", got="no --database", remedy="pass --database URL")
    if database is None:
        return None
    from clipada.serving.history import History

    return History(HistoryConfig(database=database, keep=keep))
