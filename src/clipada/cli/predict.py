"""The command that inspects images: predict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.options import (
    Backbone,
    BatchSize,
    Cascade,
    Database,
    Device,
    Engine,
    KeepImages,
    Mqtt,
    Precision,
    RunOrName,
    Secret,
    Shortcut,
    Streams,
    Threads,
    Webhook,
    Workers,
    engine_options,
)
from clipada.cli.terminal import Counts, progress, say, tell
from clipada.config import EngineOptions, HistoryConfig, Keep, PredictConfig, Shard, SinkConfig
from clipada.errors import ClipAdaError, ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

    from clipada.history.recorder import Recorder
    from clipada.inspection.batch import Job, Record


def predict(
    run: RunOrName,
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
    cascade: Cascade = False,
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
    chosen = engine_options(engine, precision, device, threads, streams, shortcut, cascade)
    sinks = SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt)
    with _line(run, database, keep_images, sinks) as line, progress("{task.fields[rate]} images/s") as bar:
        if ray:
            records = _on_ray(run, images, out, settings, chosen, backbone, line)
        else:
            records = _here(run, images, out, settings, chosen, backbone, line, bar)
        counts = _told(records, bar)
        if line is not None:
            line.warn_of_drift()
            line.finish()
    say(f"{counts}; pictures in {out}" if out else str(counts))
    if counts.unreadable and not counts.inspected:
        raise typer.Exit(1)


def _here(
    run: Path,
    images: list[Path],
    out: Path | None,
    settings: PredictConfig,
    engine: EngineOptions,
    backbone: str | None,
    line: Recorder | None,
    bar: Progress,
) -> Iterator[Record]:
    """The records of images inspected on this machine; the bar learns how many there are while they are inspected."""
    from clipada.inspection import Inspector
    from clipada.inspection.batch import Job, find_sources
    from clipada.types import Verdict

    sources = find_sources(images, out, settings)
    inspector = Inspector.load(run, backbone=backbone, engine=engine, threshold=settings.threshold)
    job = Job(inspector, sources, out, settings)
    if not bar.disable:
        Thread(target=_count, args=(job, bar), daemon=True).start()
    for outcome in job.run(watch_drift=line is None):
        if line is not None and isinstance(outcome.result, Verdict):
            line.history.store([outcome.result])
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
    engine: EngineOptions,
    backbone: str | None,
    line: Recorder | None,
) -> Iterator[Record]:
    """The records of images inspected on Ray."""
    from clipada.inspection.batch.ray import predict_on_ray

    if out is None:
        raise ConfigError(
            "a cluster writes into a folder", got="no --out", remedy="pass --out DIR, which all can reach"
        )
    if line is not None:
        raise ConfigError("a cluster stores no verdicts in a database", got="--database", remedy="leave out --ray")
    return predict_on_ray(run, images, out, settings, backbone=backbone, engine=engine)


def _told(records: Iterator[Record], bar: Progress) -> Counts:
    """Print each record and count it."""
    counts = Counts()
    task, started = bar.add_task("inspecting", total=None, rate="-"), time.monotonic()
    for count, record in enumerate(records, start=1):
        tell(record, counts)
        bar.update(task, completed=count, rate=f"{count / (time.monotonic() - started):.1f}")
    return counts


def _line(run: Path, database: str | None, keep: Keep, sinks: SinkConfig) -> AbstractContextManager[Recorder | None]:
    """Where verdicts go beside the standard output, if a database is named."""
    for what, asked in (("images are kept", keep != "none"), ("verdicts wait for sinks", sinks.any)):
        if asked and database is None:
            raise ConfigError(f"{what} beside stored verdicts", got="no --database", remedy="pass --database URL")
    if database is None:
        return nullcontext()
    from clipada.calibration import read_calibration
    from clipada.history.recorder import Recorder
    from clipada.runs import CALIBRATION

    path = run / CALIBRATION
    calibration = read_calibration(path) if path.exists() else None
    return Recorder(calibration, HistoryConfig(database=database, keep=keep), sinks)
