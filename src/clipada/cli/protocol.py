"""The command ``protocol``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import RunFolder
from clipada.cli.results import say_not_calibrated
from clipada.cli.terminal import say
from clipada.config import EngineName, EnginePrecision, ProtocolConfig


def protocol(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The file, .md or .html, or a folder for it; protocol.md in RUN by default.")
    ] = None,
    detection: Annotated[
        float, typer.Option(help="Share of each kind of defect that must be found.")
    ] = ProtocolConfig.detection,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="Share of good parts that may be called defective; by default as calibrated, else 0.05."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the criteria.")] = ProtocolConfig.confidence,
    rows: Annotated[int, typer.Option(min=1, help="Empty rows of the record sheet.")] = ProtocolConfig.rows,
    engine: Annotated[
        EngineName | None, typer.Option(help="The line's engine, for the commands of the protocol.")
    ] = None,
    precision: Annotated[EnginePrecision | None, typer.Option(help="The line's precision, likewise.")] = None,
) -> None:
    """Write a test protocol: criteria first, independent data, procedure, record sheets, signatures."""
    from clipada.commands import protocol as command
    from clipada.runs import CALIBRATION

    settings = ProtocolConfig(detection=detection, confidence=confidence, false_alarm_rate=false_alarm_rate, rows=rows)
    path = command.protocol(run, out, settings, engine=engine, precision=precision)
    say(f"the protocol is {path}: fill in its blanks and sign section 2 before the test")
    if not (run / CALIBRATION).is_file():
        say_not_calibrated(run, "a test would call no part good or defective")
