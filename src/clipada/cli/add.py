"""The command ``add``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import Backbone, Device, Rejected, RunFolder, TrainingWorkers
from clipada.cli.results import GOOD_PARTS, false_alarms
from clipada.cli.terminal import say, stages
from clipada.config import RuntimeConfig

if TYPE_CHECKING:
    from clipada.commands.add import Revised

NAMED = 3
"""Number of images that are named as left out."""


def add(
    run: RunFolder,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGES...]", help="Good parts: files or folders.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="Name of a new product; with --condition, of the product that IMAGES show.")
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            help="Name of a new light or camera. Without --product, the folders of IMAGES name their products."
        ),
    ] = None,
    rejected: Rejected = None,
    backbone: Backbone = None,
    device: Device = RuntimeConfig.device,
    workers: TrainingWorkers = RuntimeConfig.workers,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep no tokens of the images on disk.")] = False,
) -> None:
    """Add good parts of a new product, or of a new light or camera, without a training."""
    require_run_first(run, images or (), "add RUN IMAGES")
    if not images and rejected is None:
        raise typer.BadParameter("name images of good parts, or --rejected URL", param_hint="IMAGES")
    cache = 0.0 if no_cache else RuntimeConfig.cache_gigabytes
    with continuing(f"the run is as it was, {again()} starts again"), stages() as show:
        from clipada.commands import add as command  # PyTorch takes seconds to import, which the bar covers

        revised = command.add_parts(
            run,
            images or (),
            product=product,
            condition=condition,
            rejected=None if rejected is None else false_alarms(rejected, run),
            backbone=backbone,
            runtime=RuntimeConfig(device=device, workers=workers, cache_gigabytes=cache),
            report=show,
        )
    _print_left_out(revised)
    print_revised(revised, run)
    say(f"`clipada remove {shlex.quote(str(run))} --last` undoes it")


def _print_left_out(revised: Revised) -> None:
    """Print the images that were left out, and what a user should know of the others."""
    for failure in revised.failures:
        say(f"left out: {failure.error}", style="yellow")
    for reason, paths in (
        ("in the memory already", revised.known),
        ("a copy of another", revised.copies),
        ("a rejected alarm of unknown product", revised.unassigned),
    ):
        if paths:
            more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
            say(f"left out, {reason}: {', '.join(map(str, paths[:NAMED]))}{more}", style="yellow")
    for warning in revised.warnings:
        say(f"note: {warning}", style="yellow")


def print_revised(revised: Revised, run: Path) -> None:
    """Print what has changed, which files are of the memory before, and the next command."""
    from clipada.runs import CALIBRATION, EXPORTS, METRICS

    for change in revised.changes:
        say(change.describe())
    products = ", ".join(f"{name} ({count})" for name, count in revised.run.training.categories.items())
    say(f"in {revised.seconds:.0f} s; in the memory now: {products}")
    if revised.stale:
        say(f"of another memory, and not used any more: {', '.join(revised.stale)}", style="yellow")
    whole = shlex.quote(str(run))
    if CALIBRATION in revised.stale or not (run / CALIBRATION).exists():
        say(f"next: clipada calibrate {whole} {GOOD_PARTS}")
    for name in revised.stale:
        if name.startswith(EXPORTS):
            engine, _, precision = name.rpartition("/")[2].partition("-")
            say(f"next: clipada export {whole} --engine {engine} --precision {precision}")
    if METRICS in revised.stale:
        say(f"next: clipada evaluate {whole} PHOTOS")
