"""Commands that make a run: demo, train, synthesize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipada.cli.arguments import (
    Backbone,
    Category,
    Compile,
    DataFolder,
    Device,
    Layout,
    Settings,
    TrainingFolder,
    TrainingWorkers,
)
from clipada.cli.terminal import console, print_metrics, progress, read_dataset, say, stages
from clipada.config import Config, DemoConfig, RuntimeConfig
from clipada.options import asked_config

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.demonstration import Step


def demo(
    out: Annotated[Path, typer.Option(help="The folder for images, run and pictures.")] = Path("runs/demo"),
    data_only: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write the images, in the MVTec AD layout, into DIR.")
    ] = None,
    train: Annotated[int, typer.Option(min=1, help="Good parts of each product to train on.")] = DemoConfig.train,
    good: Annotated[int, typer.Option(min=1, help="Good parts of each product to test on.")] = DemoConfig.good,
    defective: Annotated[int, typer.Option(min=1, help="Test parts with each kind of defect.")] = DemoConfig.defective,
    held_out: Annotated[
        int, typer.Option(min=1, help="More good parts of each product, to calibrate on.")
    ] = DemoConfig.held_out,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of a product's good parts that may be called defective.")
    ] = DemoConfig.false_alarm_rate,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other parts, another training.")] = DemoConfig.seed,
    backbone: Backbone = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    settings: Settings = None,
    device: Device = "auto",
    workers: TrainingWorkers = None,
) -> None:
    """See it all work, offline: draw three products, train ONE model on good parts, find defects it never saw."""
    from clipada import demonstration
    from clipada.data.demo import write_demo
    from clipada.report import calibration_summary

    parts = DemoConfig(
        train=train, good=good, defective=defective, held_out=held_out, false_alarm_rate=false_alarm_rate, seed=seed
    )
    with stages() as show:
        if data_only is not None:
            write_demo(data_only, parts, lambda done, total: show("drawing parts", done, total))
            say(f"the images are in {data_only}")
            say(f"next: clipada train {data_only} --preset demo --out runs/parts")
            return
        runtime = RuntimeConfig(device=device, workers=workers)
        config = asked_config(Config.preset("demo"), settings, epochs, backbone=backbone, seed=seed)
        result = demonstration.demo(out, config, parts=parts, runtime=runtime, report=lambda step: show(*_shown(step)))
    print_metrics(result.evaluation)
    say(f"one model for {len(result.evaluation.categories)} products, trained in {result.run.training.seconds:.0f} s")
    for line in calibration_summary(result.calibration):
        say(line)
    say(f"the report is {result.page}")
    say(f"pictures of every kind of defect in {result.pictures}, the run in {result.run.folder}")
    say(f"next: clipada info {result.run.folder}")
    say("      clipada train FOLDER-OF-YOUR-GOOD-PARTS --preset demo --out runs/mine")
    say("      clipada predict runs/mine YOUR-IMAGES --out out")


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
    from clipada import workflows
    from clipada.plan import begun, is_finished

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

        run = workflows.train(
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


def synthesize(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="The folder to write the contact sheet into.")],
    count: Annotated[int, typer.Option(min=1, help="How many samples.")] = 24,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, other samples.")] = None,
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
) -> None:
    """Write a contact sheet of synthetic training samples, to see what trains."""
    from clipada import workflows

    config = asked_config(Config.preset("quick"), settings, textures=textures, seed=seed)
    path, failures = workflows.synthesize(read_dataset(data, layout, category), out, config, count=count)
    for failure in failures:
        say(f"left out: {failure.error}", style="yellow")
    say(f"contact sheet in {path}")


def _training_data(
    data: Path | None, resumed: Path | None, layout: str, categories: list[str] | None
) -> Dataset | None:
    """The data set to train on, said aloud; what is not given is as the training resumed recorded it."""
    from clipada.plan import read_plan

    plan = read_plan(resumed) if resumed else None
    if plan is not None:
        layout = plan.layout if layout == "auto" else layout
        return read_dataset(data or plan.data, layout, categories or list(plan.categories))
    return None if data is None else read_dataset(data, layout, categories)


def _shown(step: Step) -> tuple[str, int, int, str]:
    """A step of the demo as the progress bar shows it."""
    note = f"epoch {step.training.epoch}, loss {step.training.losses[-1]:.3f}" if step.training else ""
    return step.stage, step.done, step.total, note


def _print_validation(validation: dict[str, dict[str, float | None]]) -> None:
    for name, metrics in validation.items():
        view = f"pass {name}" if name.isdigit() else "mean of the passes"
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        say(f"held-out images with synthetic anomalies, {view}: {figures}")
