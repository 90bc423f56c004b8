"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipada.cli.options import (
    Backbone,
    Category,
    Compile,
    Device,
    Layout,
    Settings,
    TrainingFolder,
    TrainingWorkers,
)
from clipada.cli.terminal import console, progress, read_dataset, say
from clipada.config import Config, RuntimeConfig
from clipada.config.overrides import asked_config

if TYPE_CHECKING:
    from clipada.data import Dataset


def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    data: TrainingFolder = None,
    preset: Annotated[
        str | None, typer.Option(help="quick (minutes on a CPU; the default), demo, or the paper's mvtec or visa.")
    ] = None,
    backbone: Backbone = None,
    refinements: Annotated[int | None, typer.Option(help="Refinement passes R.")] = None,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random draw follows from it.")] = None,
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="How many such devices train together on a machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="How many machines; torchrun or SLURM starts the processes.")] = 1,
    workers: TrainingWorkers = None,
    compiled: Compile = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training, as it began.")] = False,
) -> None:
    """Train ONE model on the good parts of all categories."""
    from clipada.commands import train as command
    from clipada.training.resume import begun, is_finished

    finished = resume and is_finished(out, resume)
    recorded = begun(out) if resume and preset is None else None
    base = recorded or Config.preset(preset or "quick")  # type: ignore[arg-type]
    names = {"backbone": backbone, "refinements": refinements, "textures": textures, "seed": seed}
    config = asked_config(base, settings, epochs, **names)
    dataset = _training_data(data, out if resume else None, layout, category)
    runtime = RuntimeConfig(device=device, devices=devices, nodes=nodes, workers=workers, compile=compiled)
    with progress("loss {task.fields[loss]}", "{task.fields[rate]} images/s") as bar:
        task = bar.add_task("training", total=None, loss="-", rate="-")

        def show(progress: Any) -> None:
            loss = " / ".join(f"{value:.4f}" for value in progress.losses)
            bar.update(
                task,
                description=f"epoch {progress.epoch}",
                completed=progress.step,
                total=progress.steps,
                loss=loss,
                rate=f"{progress.images_per_second:.1f}",
            )
            if not console.is_terminal and progress.step * config.training.epochs % progress.steps == 0:
                rate = f"{progress.images_per_second:.1f} images/s"
                say(f"epoch {progress.epoch} of {config.training.epochs}: loss {loss}, {rate}")

        def show_prototypes(done: int, total: int) -> None:
            bar.update(task, description="finding prototypes", completed=done, total=total)
            if not console.is_terminal and done == total:
                say("found prototypes")

        run = command.train(
            dataset, out, config, runtime=runtime, resume=resume, report=show, on_prototypes=show_prototypes
        )
    if run.training.unreadable:
        say(f"left out {len(run.training.unreadable)} training images that could not be read")
    _print_validation(run.training.validation)
    if finished:
        say(f"{out} holds a finished run: nothing was left to train")
    else:
        say(f"trained in {run.training.seconds:.0f} s; the run is in {out}")
    if dataset is not None and not dataset.test:
        say(f"next: clipada calibrate {out} HELD-OUT-GOOD-PARTS")
    else:
        say(f"next: clipada evaluate {out} {dataset.root if dataset else 'DATA'}")


def _training_data(
    data: Path | None, resumed: Path | None, layout: str, categories: list[str] | None
) -> Dataset | None:
    """The data set to train on, said aloud; what is not given is as the training resumed recorded it."""
    from clipada.training.resume import read_plan

    plan = read_plan(resumed) if resumed else None
    if plan is not None:
        layout = plan.layout if layout == "auto" else layout
        return read_dataset(data or plan.data, layout, categories or list(plan.categories))
    return None if data is None else read_dataset(data, layout, categories)


def _print_validation(validation: dict[str, dict[str, float | None]]) -> None:
    for name, metrics in validation.items():
        view = f"pass {name}" if name.isdigit() else "mean of the passes"
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        say(f"held-out images with synthetic anomalies, {view}: {figures}")
