"""The command ``calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import (
    Backbone,
    BatchSize,
    Cascade,
    Device,
    Engine,
    Precision,
    RunFolder,
    Shortcut,
    Streams,
    Threads,
    Workers,
    engine_options,
)
from clipada.cli.terminal import progress, say
from clipada.config import CalibrationConfig, CalibrationMode, HistoryConfig

_ASKED = CalibrationConfig()
_PRESENT = "without IMAGES the present calibration's by default, else "


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
        float | None,
        typer.Option(help=f"Share of good parts that may be called defective; {_PRESENT}{_ASKED.false_alarm_rate:g}."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help=f"Chance that the promise holds, in conditional mode; {_PRESENT}{_ASKED.confidence:g}."),
    ] = None,
    mode: Annotated[
        CalibrationMode | None,
        typer.Option(help=f"This calibration's own rate, or the mean over calibrations; {_PRESENT}{_ASKED.mode}."),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(help="Thresholds of its own for each product, folder, or match of a regex in the path."),
    ] = None,
    rejected: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also the kept images of this run's alarms that were rejected in a history."),
    ] = None,
    backbone: Backbone = None,
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
    """Set thresholds that keep a false-alarm rate, from good parts alone."""
    from clipada.calibration import read_calibration
    from clipada.commands.calibrate import calibrate as calibrated
    from clipada.report import calibration_summary
    from clipada.runs import CALIBRATION

    path = run / CALIBRATION
    base = read_calibration(path).settings if not images and path.exists() else _ASKED
    settings = CalibrationConfig(
        false_alarm_rate=base.false_alarm_rate if false_alarm_rate is None else false_alarm_rate,
        confidence=base.confidence if confidence is None else confidence,
        mode=mode or base.mode,
        per=per or base.per,
    )
    with progress() as bar:
        task = bar.add_task("calibrating", total=None)
        report = calibrated(
            run,
            images or (),
            settings,
            rejected=None if rejected is None else _false_alarms(rejected, run),
            backbone=backbone,
            engine=engine_options(engine, precision, device, threads, streams, shortcut, cascade),
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
    say(f"kept in {path}")


def _false_alarms(database: str, run: Path) -> dict[Path, str | None]:
    """The images of a run's rejected alarms, said aloud."""
    from clipada.history.store import History
    from clipada.runs import read_run

    with History(HistoryConfig(database=database), create=False) as history:
        found = history.false_alarms(read_run(run).model_sha256)
    say(f"{len(found)} images of rejected alarms in {history.place}")
    return found
