"""The command line: parse, call, print."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from clipada.config import Config, DemoConfig, EnginePrecision, RuntimeConfig, setting_names
from clipada.errors import ClipAdaError, ConfigError

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.demonstration import Step
    from clipada.evaluation import Evaluation

app = typer.Typer(
    name="clipada",
    help="Visual inspection with one adapter over a frozen CLIP: trained on good parts, one model for all products.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out_console = Console(markup=False, emoji=False, highlight=False)
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False)
console = Console(stderr=True, quiet=not RuntimeConfig.leads(), markup=False, emoji=False, highlight=False)

TRAIN_EXTRA = frozenset({"kornia", "lightning_fabric", "tensorboard", "torch", "transformers"})
"""The modules that ``clipada[train]`` installs."""

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `clipada train` wrote.")]
DataFolder = Annotated[
    Path, typer.Argument(metavar="DATA", help="A data set: MVTec AD or VisA layout, or folders of good parts.")
]
Backbone = Annotated[str | None, typer.Option(help="A CLIP: hub name or folder.")]
Layout = Annotated[str, typer.Option(help="mvtec, visa or folder; auto recognises it.")]
Category = Annotated[list[str] | None, typer.Option(help="Only this category; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Precision = Annotated[EnginePrecision, typer.Option(help="Arithmetic of the model.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. model.attention=residual; may be repeated."),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for images, run and pictures.")] = Path("runs/demo"),
    data_only: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write the images, in the MVTec AD layout, into DIR.")
    ] = None,
    train: Annotated[int, typer.Option(min=1, help="Good parts of each product to train on.")] = DemoConfig.train,
    good: Annotated[int, typer.Option(min=1, help="Good parts of each product to test on.")] = DemoConfig.good,
    defective: Annotated[int, typer.Option(min=1, help="Test parts with each kind of defect.")] = DemoConfig.defective,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other parts, another training.")] = DemoConfig.seed,
    backbone: Backbone = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    settings: Settings = None,
) -> None:
    """See it all work, offline: draw three products, train ONE model on good parts, find defects it never saw."""
    from clipada import demonstration
    from clipada.data.demo import write_demo

    parts = DemoConfig(train=train, good=good, defective=defective, seed=seed)
    with _stages() as show:
        if data_only is not None:
            write_demo(data_only, parts, lambda done, total: show("drawing parts", done, total))
            _say(f"the images are in {data_only}")
            _say(f"next: clipada train {data_only} --out runs/parts")
            return
        config = _config("demo", settings, epochs, backbone=backbone, seed=seed)
        result = demonstration.demo(out, config, parts=parts, report=lambda step: show(*_shown(step)))
    _print_metrics(result.evaluation)
    _say(f"one model for {len(result.evaluation.categories)} products, trained in {result.run.training.seconds:.0f} s")
    _say(f"pictures of every kind of defect in {result.pictures}, the run in {result.run.folder}")
    _say(f"next: clipada info {result.run.folder}")
    _say(f"      clipada predict {result.run.folder} YOUR-IMAGES --out out")
    _say("      clipada train FOLDER-OF-YOUR-GOOD-PARTS --backbone nano --out runs/mine")


@app.command()
def train(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    preset: Annotated[str, typer.Option(help="quick (minutes on a CPU), or the paper's mvtec or visa.")] = "quick",
    backbone: Backbone = None,
    refinements: Annotated[int | None, typer.Option(help="Refinement passes R.")] = None,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random draw follows from it.")] = None,
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, ...")] = "auto",
    devices: Annotated[int, typer.Option(help="How many devices train together.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images, per device.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
) -> None:
    """Train ONE model on the good parts of all categories."""
    from clipada import workflows

    config = _config(preset, settings, epochs, backbone=backbone, refinements=refinements, textures=textures, seed=seed)
    dataset = _dataset(data, layout, category)
    runtime = RuntimeConfig(accelerator=accelerator, devices=devices, workers=workers)
    with _progress("loss {task.fields[loss]}", "{task.fields[rate]} images/s") as bar:
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
                _say(f"epoch {progress.epoch} of {config.training.epochs}: loss {loss}, {rate}")

        run = workflows.train(dataset, out, config, runtime=runtime, resume=resume, report=show)
    if run.training.unreadable:
        _say(f"left out {len(run.training.unreadable)} training images that could not be read")
    _print_validation(run.training.validation)
    _say(f"trained in {run.training.seconds:.0f} s; the run is in {out}")
    _say(f"next: clipada evaluate {out} {data}")


@app.command()
def evaluate(
    run: RunFolder,
    data: DataFolder,
    backbone: Backbone = None,
    layout: Layout = "auto",
    category: Category = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Score a data set's test images; print and keep the metrics per category."""
    from clipada import workflows
    from clipada.bundle import METRICS

    dataset = _dataset(data, layout, category)
    with _progress() as bar:
        task = bar.add_task("scoring", total=len(dataset.test))
        result = workflows.evaluate(
            run,
            dataset,
            backbone=backbone,
            device=device,
            precision=precision,
            batch_size=batch_size,
            workers=workers,
            on_image=lambda _: bar.advance(task),
        )
    _print_metrics(result)
    _say(f"kept in {run / METRICS} and {run / workflows.SCORES}")


@app.command()
def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files or folders.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write overlays, 16-bit maps and predictions.jsonl here.")
    ] = None,
    backbone: Backbone = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Inspect images: one JSON line each on standard output."""
    from clipada import workflows
    from clipada.types import Failure

    unreadable = count = 0
    for result in workflows.predict(
        run,
        images,
        out,
        backbone=backbone,
        device=device,
        precision=precision,
        threshold=threshold,
        batch_size=batch_size,
        workers=workers,
    ):
        sys.stdout.write(json.dumps(workflows.prediction_record(result)) + "\n")
        count += 1
        if isinstance(result, Failure):
            unreadable += 1
            _say(f"left out: {result.error}", style="yellow")
    where = f"; pictures in {out}" if out else ""
    _say(f"inspected {count - unreadable} images, left out {unreadable}{where}")
    if unreadable == count:
        raise typer.Exit(1)


@app.command()
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

    config = _config("quick", settings, None, textures=textures, seed=seed)
    path, failures = workflows.synthesize(_dataset(data, layout, category), out, config, count=count)
    for failure in failures:
        _say(f"left out: {failure.error}", style="yellow")
    _say(f"contact sheet in {path}")


@app.command()
def info(run: RunFolder) -> None:
    """Show what a run is: settings, backbone, training, metrics."""
    from clipada import workflows

    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in workflows.info(run).items():
        table.add_row(name, value)
    out_console.print(table)


def main() -> None:
    """Run the command line; what the user can mend is printed without a traceback and exits with 2."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
            raise
        error_console.print(f"error: this needs {error.name}\n  remedy: pip install 'clipada[train]'", style="red")
        sys.exit(2)
    except (ClipAdaError, OSError) as error:
        error_console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)


def _say(text: str, style: str | None = None) -> None:
    """Print to standard error, no line broken, so that paths and commands can be copied from a log."""
    console.print(text, style=style, soft_wrap=True)


def _config(preset: str, settings: list[str] | None, epochs: int | None, **options: Any) -> Config:
    """The preset with the command line's changes; later ``--set`` wins."""
    names = {
        "backbone": "backbone.name",
        "refinements": "model.refinements",
        "textures": "synthesis.textures",
        "seed": "training.seed",
    }
    config = Config.preset(preset)  # type: ignore[arg-type]
    if epochs is not None:
        config = replace(config, training=config.training.lasting(epochs))
    config = config.updated({names[key]: value for key, value in options.items() if value is not None})
    changes = dict(_setting(text) for text in settings or [])
    return config.updated(changes)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"cannot read --set {text}", expected="NAME=VALUE, NAME one of: " + ", ".join(setting_names())
        )
    return name.strip(), value.strip()


def _dataset(data: Path, layout: str, categories: list[str] | None) -> Dataset:
    """The data set, said aloud."""
    from clipada.data import load_dataset

    dataset = load_dataset(data, layout, categories)  # type: ignore[arg-type]
    for line in dataset.describe():
        _say(line)
    return dataset


def _print_metrics(result: Evaluation) -> None:
    """What was left out, a table for each map, and how to read them."""
    from clipada.metrics import mean_metrics
    from clipada.report import metrics_table

    for failure in result.failures:
        _say(f"left out: {failure.error}", style="yellow")
    for index, categories in enumerate(result.passes):
        title = "pass 0 (coarse)" if index == 0 else f"pass {index} (refined)"
        out_console.print(metrics_table(categories, mean_metrics(categories.values()), title))
    if result.protocol["fusion"] == "mean" and len(result.passes) > 1:
        mean = mean_metrics(result.categories.values())
        out_console.print(metrics_table(result.categories, mean, "mean of the passes (counts)"))
    _say(f"percent; {result.protocol['masks']}")


def _shown(step: Step) -> tuple[str, int, int, str]:
    """A step of the demo as the progress bar shows it."""
    note = f"epoch {step.training.epoch}, loss {step.training.losses[-1]:.3f}" if step.training else ""
    return step.stage, step.done, step.total, note


def _print_validation(validation: dict[str, dict[str, float | None]]) -> None:
    for name, metrics in validation.items():
        view = f"pass {name}" if name.isdigit() else "mean of the passes"
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        _say(f"held-out images with synthetic anomalies, {view}: {figures}")


@contextmanager
def _progress(*texts: str) -> Iterator[Progress]:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *map(TextColumn, texts)]
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        yield bar


@contextmanager
def _stages() -> Iterator[Callable[..., None]]:
    """A bar for every stage of a longer job; where there is no terminal, a line at every quarter of each."""
    tasks: dict[str, TaskID] = {}
    with _progress("{task.fields[note]}") as bar:

        def show(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note=note)
            bar.update(tasks[stage], completed=done, note=note)
            if not console.is_terminal and done * 4 // total > (done - 1) * 4 // total:
                _say(f"{stage}: {done} of {total}{', ' * bool(note)}{note}")

        yield show
