"""The command ``stress``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import BatchSize, RunFolder, Workers, takes_engine_options
from clipada.cli.tables import Column, print_table
from clipada.cli.terminal import out_console, say, stages, working
from clipada.config import BatchConfig, EngineOptions, StressConfig

if TYPE_CHECKING:
    from clipada.commands.stress import StressReport
    from clipada.inspection.stress import StressTest


@takes_engine_options
def stress(
    run: RunFolder,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Good parts that were not trained on: files or folders.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write into; RUN/stress.")] = None,
    most_images: Annotated[
        int, typer.Option("--images", metavar="N", min=0, help="Most images that are perturbed; 0 for all.")
    ] = StressConfig.images,
    defects: Annotated[
        int, typer.Option(metavar="N", min=0, help="Most of these that also get a synthetic defect.")
    ] = StressConfig.defects,
    seed: Annotated[int, typer.Option(min=0, help="Seed of directions, noise, specks and defects.")] = 0,
    batch_size: BatchSize = BatchConfig.batch_size,
    workers: Workers = BatchConfig.workers,
    *,
    engine: EngineOptions,
) -> None:
    """Count false alarms under other positions, focus, light and noise, and the defects that are still found."""
    with working("starting"):
        from clipada.commands import stress as command

    require_run_first(run, images, "stress RUN IMAGES")
    settings = StressConfig(images=most_images, defects=defects, seed=seed)
    with continuing(f"nothing was written, {again()} starts again"), stages() as show:
        report = command.stress(
            run,
            images,
            out,
            settings,
            batch_size=batch_size,
            workers=workers,
            report=show,
            engine=engine,
        )
    _say_left_out(report)
    print_stress(report.test, "good parts that are called defective, worst perturbation first")
    for line in _summary(report):
        say(line)


def print_stress(test: StressTest, title: str) -> None:
    """Print the decisions under each perturbation, worst first."""
    from clipada.report.stress import COLUMNS, stress_rows

    spare = {"interval": 1, "rate": 2}
    columns = [Column(head="perturbation", name=True), *(Column(head=one, spare=spare.get(one, 0)) for one in COLUMNS)]
    print_table(out_console, columns, list(stress_rows(test)), title=title)


def _say_left_out(report: StressReport) -> None:
    """Name the images that were left out, and those of which the thresholds come."""
    for failure in report.failures:
        say(f"left out: {failure.error}", style="yellow")
    for reason, paths in (("trained on", report.trained_on), ("a copy of another", report.copies)):
        if paths:
            say(f"left out, {reason}: {len(paths)} images, e.g. {paths[0]}", style="yellow")
    if report.calibrated_with:
        count = len(report.calibrated_with)
        say(f"{count} of the images are those that the thresholds come from: others show more alarms", style="yellow")


def _summary(report: StressReport) -> list[str]:
    """Say what was perturbed, what is worst, and where the files are."""
    test, worst = report.test, report.test.worst
    raised = [row.label for row in test.rows if test.raised(row)]
    lines = [
        f"{report.images} good parts, {test.plain.defects.images} synthetic defects; the calibration allows "
        f"{100 * test.false_alarm_rate:g} % false alarms"
    ]
    if worst.good.defective:
        lines.append(f"worst: {worst.label}, {worst.good.defective} of {worst.good.decided} are false alarms")
    lines.append(f"beyond chance above the allowed rate: {', '.join(raised) or 'none'}")
    lines.append(f"kept in {report.folder}: open {report.folder / 'stress.html'}")
    return lines
