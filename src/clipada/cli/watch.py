"""The command that inspects beside a line: watch."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import (
    Backbone,
    BatchSize,
    Cascade,
    Device,
    Engine,
    KeepImages,
    Precision,
    RunOrName,
    Secret,
    Shortcut,
    Streams,
    Threads,
    Workers,
    engine_options,
)
from clipada.cli.terminal import Counts, say, tell
from clipada.config import HistoryConfig, SinkConfig, WatchConfig


def watch(
    run: RunOrName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that cameras drop images into.")],
    database: Annotated[
        str, typer.Option(metavar="URL", help="Where verdicts are stored, and which files were seen.")
    ] = HistoryConfig.database,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="CLIPADA_WEBHOOK", help="Also post each verdict there as JSON."),
    ] = None,
    webhook_secret: Secret = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="CLIPADA_MQTT",
            help="Also publish each verdict: mqtt://user@host:port/topic, or mqtts:// for TLS.",
        ),
    ] = None,
    keep_images: KeepImages = HistoryConfig.keep,
    out: Annotated[Path | None, typer.Option(help="Also write overlays and 16-bit maps here.")] = None,
    settle: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="A file is complete when unchanged for so long; 0 for cameras that rename finished files into place.",
        ),
    ] = WatchConfig.settle,
    once: Annotated[bool, typer.Option("--once", help="End when everything that is there was inspected.")] = False,
    backbone: Backbone = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = None,
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
    """Follow a folder: inspect and store each new image once, and print a JSON line on standard output."""
    from clipada.history.recorder import Recorder
    from clipada.history.watching.watch import FolderWatch
    from clipada.inspection import Inspector
    from clipada.inspection.batch import verdict_record, write_pictures
    from clipada.types import Verdict

    stop = _StopSignals()
    inspector = Inspector.load(
        run,
        backbone=backbone,
        engine=engine_options(engine, precision, device, threads, streams, shortcut, cascade),
        threshold=threshold,
    )
    history = HistoryConfig(database=database, keep=keep_images)
    counts = Counts()
    with Recorder(
        inspector.calibration, history, SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt)
    ) as line:
        watched = FolderWatch(
            inspector,
            line.history,
            folder,
            WatchConfig(settle=settle),
            excluded=[Path(history.images), *([] if out is None else [out])],
            batch_size=batch_size,
            workers=workers,
        )
        say(f"watching {folder}; verdicts in {line.history.place}")
        for results in watched.batches(once=once, stopped=lambda: stop.asked):
            for result in results:
                tell(verdict_record(result), counts)
                if out is not None and isinstance(result, Verdict) and result.path is not None:
                    write_pictures(out, str(result.path.relative_to(folder.absolute())), result)
            sys.stdout.flush()
            line.warn_of_drift()
        line.finish(flush=once)
    say(f"{counts}; pictures in {out}" if out else str(counts))


class _StopSignals:
    """Whether SIGTERM or SIGINT came; the second one ends the process as it would without us."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)
