"""The command ``train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing
from clipada.cli.options import (
    Backbone,
    Category,
    Channels,
    Compile,
    Depth,
    Device,
    Layout,
    Page,
    Settings,
    TrainingFolder,
    TrainingWorkers,
)
from clipada.cli.results import GOOD_PARTS
from clipada.cli.terminal import say, stages
from clipada.config import PRESETS, BackboneConfig, Config, RuntimeConfig
from clipada.config.overrides import asked_config

if TYPE_CHECKING:
    from clipada.runs import Run
    from clipada.training.resume import TrainingJob


def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    data: TrainingFolder = None,
    preset: Annotated[
        str | None,
        typer.Option(
            autocompletion=lambda: list(PRESETS),
            help="quick: a memory of good parts, a minute; accurate: with a trained filter, minutes and up to 4 GB of "
            "main memory (of 1 to 20 images a product a memory alone, seconds); prompt: the "
            "paper's method, minutes on a CPU; demo; mvtec, visa: the paper's own. By default accurate, and prompt "
            "for a backbone with a text tower.",
        ),
    ] = None,
    backbone: Backbone = None,
    refinements: Annotated[int | None, typer.Option(help="Number R of refinement passes.")] = None,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    channels: Channels = None,
    depth: Depth = None,
    page: Page = None,
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
    defects: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Photos of known defects to learn from: with masks, with boxes (COCO) or neither; DATA again for its "
            "own anomalous images.",
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Region of interest: a mask image, polygons in JSON, or a folder with one file for each product. "
            "What is outside is neither learned nor scored.",
        ),
    ] = None,
    device: Device = RuntimeConfig.device,
    devices: Annotated[
        int, typer.Option(help="Number of such devices that train together on a machine.")
    ] = RuntimeConfig.devices,
    nodes: Annotated[
        int, typer.Option(help="Number of machines; torchrun or SLURM starts the processes.")
    ] = RuntimeConfig.nodes,
    workers: TrainingWorkers = RuntimeConfig.workers,
    compiled: Compile = RuntimeConfig.compile,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no tokens of the images on disk, which a second training reads.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an unfinished training, with the settings it started with.")
    ] = False,
) -> None:
    """Train ONE model on the good parts of all categories."""

    def configured(recorded: Config | None) -> Config:
        from clipada.models.backbones import default_preset

        named = preset or ("" if recorded else default_preset(backbone or BackboneConfig.name))
        base = Config.preset(named) if preset or recorded is None else recorded  # type: ignore[arg-type]
        names = {"backbone": backbone, "refinements": refinements, "textures": textures, "seed": seed}
        return asked_config(base, settings, epochs, **names, channels=channels, depth=depth, page=page)

    started: list[TrainingJob | Run] = []

    def start(job: TrainingJob | Run) -> None:
        from clipada.runs import Run
        from clipada.training.split import describe_few

        started.append(job)
        if isinstance(job, Run):
            return
        for line in job.describe():
            say(line)
        if (few := describe_few(job.dataset.train, job.config)) is not None:
            say(few)

    cache = 0.0 if no_cache else RuntimeConfig.cache_gigabytes
    runtime = RuntimeConfig(
        device=device, devices=devices, nodes=nodes, workers=workers, compile=compiled, cache_gigabytes=cache
    )
    with continuing(lambda: _continuation(out)), stages() as show:
        from clipada.commands import train as command  # PyTorch takes seconds to import, which the bar covers

        run = command.train(
            data,
            out,
            configured,
            runtime=runtime,
            resume=resume,
            layout=layout,
            categories=category,
            defects=defects,
            roi=roi,
            report=show,
            on_start=start,
        )
    _print_result(run)
    _print_end(started[0], run, out)


def _continuation(out: Path) -> str:
    """Say how an interrupted training goes on: from its checkpoint, or from the start if nothing was written yet."""
    from clipada.runs import PLAN

    if (out / PLAN).exists():
        return f"clipada train --resume --out {shlex.quote(str(out))} continues"
    return f"nothing was written, {again()} starts again"


def _print_result(run: Run) -> None:
    """Print what was left out, what was learned from known defects, and the figures on held-out images."""
    from clipada.report.card import describe_alignment, describe_learned, describe_skipped

    if run.training.unreadable:
        aligned = " or aligned" if run.alignment_sha256 else ""
        say(f"left out {len(run.training.unreadable)} training images that could not be read{aligned}")
    if run.alignment_sha256:
        say(f"alignment: {describe_alignment(run)}")
    copied = {name: kind for name, kind in run.training.copies.items() if kind != "none"}
    if copied:
        said = ", ".join(f"{kind} ones of {name}" for name, kind in copied.items())
        say(f"copies of the good images joined the memory: {said}")
    for line in (*describe_skipped(run.training), *describe_learned(run.training)):
        say(line)
    for name, metrics in run.training.validation.items():
        view = f"pass {name}" if name.isdigit() else "mean of the passes"
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        say(f"held-out images with synthetic anomalies, {view}: {figures}")


def _print_end(job: TrainingJob | Run, run: Run, out: Path) -> None:
    """Print where the run is, and the next command."""
    from clipada.runs import Run

    if isinstance(job, Run):
        say(f"{out} holds a finished run: nothing was left to train")
    else:
        say(f"trained in {run.training.seconds:.0f} s; the run is in {out}")
    say(f"next: clipada calibrate {out} {GOOD_PARTS}")
    if run.memory_sha256 is not None:
        say(f"or, with no more good parts than these: clipada calibrate {out}")
