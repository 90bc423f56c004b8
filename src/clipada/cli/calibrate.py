"""The command ``calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import BatchSize, Rejected, RunFolder, Workers, takes_engine_options
from clipada.cli.results import describe_decisions, false_alarms
from clipada.cli.tables import print_change_table
from clipada.cli.terminal import console, say, stages, working
from clipada.config import BatchConfig, CalibrationConfig, CalibrationMode, CrossFitConfig, EngineOptions

if TYPE_CHECKING:
    from clipada.calibration import CalibrationChange
    from clipada.commands.calibrate import CalibrationReport
    from clipada.evaluation.kinds import Decisions

_DEFAULT = CalibrationConfig()
_CROSS_FITTED = CalibrationConfig(mode="marginal")
_PRESENT = "without IMAGES the present calibration's by default, else "


@takes_engine_options
def calibrate(
    run: RunFolder,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="Good parts that were not trained on: files or folders. None: change the guarantee of the present "
            "calibration, or cross-fit if there is none.",
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help=f"Share of good parts that may be called defective; {_PRESENT}{_DEFAULT.false_alarm_rate:g}."
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help=f"Chance that the guarantee holds, in conditional mode; {_PRESENT}{_DEFAULT.confidence:g}."),
    ] = None,
    mode: Annotated[
        CalibrationMode | None,
        typer.Option(help=f"This calibration's own rate, or the mean over calibrations; {_PRESENT}{_DEFAULT.mode}."),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(help="Separate thresholds for each product, folder, or match of a regex in the path."),
    ] = None,
    cross_fit: Annotated[
        bool,
        typer.Option(
            "--cross-fit",
            help="Take the training images, each compared with the others alone: for few images; it guarantees less.",
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the training images, if it has moved; to cross-fit.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Groups of consecutive images to cross-fit with, where parts were taken several times; by default "
            "each image is one."
        ),
    ] = None,
    rejected: Rejected = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore the calibration that the latest one replaced; again: take it back.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Calibrate although groups lose their thresholds, or no defect could reach the new ones."
        ),
    ] = False,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    *,
    engine: EngineOptions,
) -> None:
    """Set thresholds that keep a false-alarm rate, from good parts alone."""
    with working("starting"):
        from clipada.calibration import find_calibration
        from clipada.commands import calibrate as command
    from clipada.runs import CALIBRATION

    require_run_first(run, images or (), "calibrate RUN IMAGES")
    if undo:
        _require_alone(images, false_alarm_rate, confidence, mode, per, cross_fit or None, data, folds, rejected)
        _print_report(command.undo_calibration(run, review=_print_change), run)
        return
    present = None if images or cross_fit else find_calibration(run / CALIBRATION)
    cross_fit = cross_fit or not (images or rejected or present)
    if (data or folds) and not cross_fit:
        raise typer.BadParameter("they are of the training images: add --cross-fit", param_hint="--data, --folds")
    base = (_CROSS_FITTED if cross_fit else _DEFAULT) if present is None else present.settings
    settings = CalibrationConfig(
        false_alarm_rate=base.false_alarm_rate if false_alarm_rate is None else false_alarm_rate,
        confidence=base.confidence if confidence is None else confidence,
        mode=mode or base.mode,
        per=per or base.per,
    )
    with continuing(f"no threshold was changed, {again()} starts again"), stages() as show:
        report = command.calibrate(
            run,
            images or (),
            settings,
            cross_fit=CrossFitConfig(data=None if data is None else str(data), folds=folds) if cross_fit else None,
            rejected=None if rejected is None else false_alarms(rejected, run),
            force=force,
            review=_print_change,
            batch_size=batch_size,
            workers=workers,
            report=show,
            engine=engine,
        )
    _print_report(report, run)


def _require_alone(*others: object) -> None:
    """Refuse ``--undo`` together with what makes a new calibration."""
    if any(other is not None and other != [] for other in others):
        raise typer.BadParameter("it takes neither IMAGES nor another guarantee", param_hint="--undo")


def _print_change(change: CalibrationChange) -> None:
    """Print old and new thresholds, and how many verdicts change."""
    from clipada.report import change_summary

    print_change_table(console, change)
    for line in change_summary(change):
        say(line)


def _print_report(report: CalibrationReport, run: Path) -> None:
    """Print what was left out, the thresholds with their guarantee, and the files."""
    from clipada.calibration import previous_path
    from clipada.report import calibration_summary
    from clipada.runs import CALIBRATION

    for failure in report.failures:
        say(f"left out: {failure.error}", style="yellow")
    reasons = {
        "trained on": report.trained_on,
        "a copy of another": report.copies,
        "the only image of its product, which nothing can be compared with": report.alone,
    }
    for reason, paths in reasons.items():
        if paths:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            say(f"left out, {reason}: {', '.join(map(str, paths[:3]))}{more}", style="yellow")
    for path, reason in report.not_inspectable.items():
        say(f"left out, not inspectable: {path}: {reason}", style="yellow")
    for line in calibration_summary(report.calibration):
        say(line)
    path = run / CALIBRATION
    say(f"kept in {path}")
    if report.change is not None and report.change.old.id != report.calibration.id:
        say(f"the one before is kept in {previous_path(path)}; `clipada calibrate {run} --undo` restores it")
    if report.decisions is None:
        say(f"next: clipada evaluate {run} PHOTOS   # which defects are found, where there are photos of some")
        say(f"      clipada predict {run} NEW-PARTS --out out")
    else:
        _print_decided(report.decisions)
        say(f"next: clipada predict {run} NEW-PARTS --out out")


def _print_decided(decisions: Decisions) -> None:
    """Print what the new thresholds find and miss among the images of the last evaluation."""
    from clipada.evaluation.kinds import describe_calibrated

    say("on the test images of the last evaluation:")
    for line in describe_decisions(decisions.kinds):
        say(f"  {line}")
    if shared := decisions.calibrated_on:
        say(f"  note: {describe_calibrated(len(shared))}", style="yellow")
