"""The command ``watch``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.errors import require_run_first
from clipada.cli.options import BatchSize, InputCheck, KeepImages, RunOrName, Secret, Workers, takes_engine_options
from clipada.cli.terminal import say
from clipada.cli.verdicts import Counts, print_record
from clipada.config import (
    BatchConfig,
    EngineOptions,
    HistoryConfig,
    InputCheckConfig,
    PredictConfig,
    SinkConfig,
    WatchConfig,
)


@takes_engine_options
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
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = None,
    input_check: InputCheck = InputCheckConfig.rate,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    *,
    engine: EngineOptions,
) -> None:
    """Follow a folder: inspect and store each new image once, and print a JSON line on standard output."""
    from clipada.commands import watch as command

    require_run_first(run, [folder], "watch RUN IMAGES")
    stop, counts = _StopSignals(), Counts()
    outcomes = command.watch(
        run,
        folder,
        WatchConfig(settle=settle),
        history=HistoryConfig(database=database, keep=keep_images),
        sinks=SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt),
        out=out,
        inspection=PredictConfig(
            threshold=threshold,
            input_check=InputCheckConfig(rate=input_check),
            batch_size=batch_size,
            workers=workers,
        ),
        once=once,
        stopped=lambda: stop.asked,
        on_start=lambda place: say(f"watching {folder}; verdicts in {place}"),
        engine=engine,
    )
    for outcome in outcomes:
        print_record(outcome.record, counts)
        sys.stdout.flush()
    say(f"{counts}; pictures in {out}" if out else str(counts))


class _StopSignals:
    """Record of SIGTERM or SIGINT; the second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)
