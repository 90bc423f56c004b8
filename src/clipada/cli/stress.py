"""The command ``stress``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import BatchSize, RunFolder, Workers, takes_engine_options
from clipada.cli.tables import Column, print_table
from clipada.cli.terminal import out_console, say, stages, working
from clipada.config import BatchConfig, EngineOptions, StressConfig
from clipada.config.stress import UNITS

if TYPE_CHECKING:
    from clipada.commands.stress import StressReport


@takes_engine_options
def stress(
    run: RunFolder,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Good parts that were not trained on: files or folders.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write into; RUN/stress.")] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW-RUN", help="Train a new run there that sees photos so perturbed, and measure both runs."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="For --fix: the training images, if they have moved.")
    ] = None,
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
    hint = "starts again; nothing is half-written" if fix is None else "continues"
    with continuing(f"{again()} {hint}"), stages() as show:
        report = command.stress(
            run,
            images,
            out,
            settings,
            fix=fix,
            data=data,
            batch_size=batch_size,
            workers=workers,
            report=show,
            engine=engine,
        )
    _say_left_out(report)
    print_stress(report)
    for line in (*_summary(report), *(_asked_fix(report) if fix is not None else ())):
        say(line)


def print_stress(report: StressReport) -> None:
    """Print the decisions under each perturbation, worst first; of a new run, beside those before."""
    from clipada.report.stress import COLUMNS, COLUMNS_BEFORE, stress_rows

    spare = {"interval": 3, "rate": 2, "found before": 1}
    columns = [Column(head="perturbation", name=True)]
    heads = COLUMNS if report.fix is None else COLUMNS_BEFORE
    columns += [Column(head=one, spare=spare.get(one, 0)) for one in heads]
    rows = stress_rows(report.test) if report.fix is None else stress_rows(report.fix.test, report.test)
    print_table(out_console, columns, list(rows), title="good parts called defective, worst perturbation first")


def _asked_fix(report: StressReport) -> Iterator[str]:
    """Say what a fix has changed, and what it costs."""
    from clipada.report.card import describe_learned

    if report.fix is None:
        yield "nothing to fix: no perturbation raises false alarms above the allowed rate beyond chance"
        return
    fix, old, new = report.fix, report.test, report.fix.test
    augment = fix.run.config.augment
    learned = ", ".join(UNITS[kind][0] for kind in dict.fromkeys(kind for kind, _ in augment.perturbations()))
    yield f"new run {fix.run.folder}: {augment.copies} perturbed copies of each product ({learned})"
    if fix.run.revision is not None:
        parts = (" ".join((part.product, part.condition)).strip() for part in fix.run.revision.parts)
        yield f"added to it as to the run before: {', '.join(parts)}"
    yield from describe_learned(fix.run.training)
    if fix.calibrated:
        yield f"its thresholds come from {fix.calibrated} of the images; both runs were measured on the others"
    else:
        yield "its thresholds are cross-fitted, as those before"
    rates = [100 * (test.worst.good.rate or 0) for test in (old, new)]
    yield f"worst false-alarm rate: {rates[0]:.1f} % before, {rates[1]:.1f} % now ({new.worst.label})"
    found = [sum(row.defects.defective for row in test.rows) for test in (old, new)]
    drawn = [sum(row.defects.images for row in test.rows) for test in (old, new)]
    if all(drawn):
        shares = [100 * one / of for one, of in zip(found, drawn, strict=True)]
        yield f"synthetic defects found, under all perturbations: {shares[0]:.1f} % before, {shares[1]:.1f} % now"
    before, after = fix.pixel_ap
    if before is not None and after is not None:
        yield f"pixel AP on the test images: {100 * before:.2f} before, {100 * after:.2f} now"
    yield f"kept in {fix.folder}: open {fix.folder / 'stress.html'}"


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
