"""The command line: parse, call, print."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from clipada.config import (
    CalibrationConfig,
    CalibrationMode,
    Config,
    DemoConfig,
    EngineConfig,
    EngineName,
    EnginePrecision,
    ExportConfig,
    HistoryConfig,
    Keep,
    RuntimeConfig,
    RuntimeName,
)
from clipada.errors import ClipAdaError
from clipada.options import asked_config
from clipada.serving.commands import history_app

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.demonstration import Step
    from clipada.evaluation import Evaluation
    from clipada.serving.history import History

app = typer.Typer(
    name="clipada",
    help="Visual inspection with one adapter over a frozen CLIP: trained on good parts, one model for all products.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(history_app, name="history")
out_console = Console(markup=False, emoji=False, highlight=False)
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False)
console = Console(stderr=True, quiet=not RuntimeConfig.leads(), markup=False, emoji=False, highlight=False)

EXTRAS = {
    **dict.fromkeys(("huggingface_hub", "kornia", "lightning_fabric", "tensorboard", "torch", "transformers"), "train"),
    **dict.fromkeys(("nncf", "onnx", "onnxscript"), "export"),
    "openvino": "openvino",
    "sqlalchemy": "serve",
}
"""The modules that are not always installed, and the extra of ``clipada`` that brings each."""

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `clipada train` wrote.")]
DataFolder = Annotated[
    Path, typer.Argument(metavar="DATA", help="A data set: MVTec AD or VisA layout, or folders of good parts.")
]
TrainingFolder = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="As for the other commands; not needed with --resume."),
]
Backbone = Annotated[str | None, typer.Option(help="A CLIP: hub name, folder, or nano, the embedded one.")]
Layout = Annotated[str, typer.Option(help="mvtec, visa or folder; auto recognises it.")]
Category = Annotated[list[str] | None, typer.Option(help="Only this category; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Engine = Annotated[
    EngineName | None,
    typer.Option(help="What looks; by default torch if it is installed, else an export that is there."),
]
Precision = Annotated[
    EnginePrecision | None, typer.Option(help="Arithmetic: fp32 or bf16 in torch, else that of an export.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of an export's runtime; one per core by default.")]
Streams = Annotated[int, typer.Option(min=1, help="Parts of a batch that an export looks at side by side.")]
Shortcut = Annotated[
    bool, typer.Option("--shortcut", help="Skip refinement passes whose attention is cold everywhere, in an export.")
]
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
        config = asked_config(Config.preset("demo"), settings, epochs, backbone=backbone, seed=seed)
        result = demonstration.demo(out, config, parts=parts, report=lambda step: show(*_shown(step)))
    _print_metrics(result.evaluation)
    _say(f"one model for {len(result.evaluation.categories)} products, trained in {result.run.training.seconds:.0f} s")
    _say(f"the report is {result.page}")
    _say(f"pictures of every kind of defect in {result.pictures}, the run in {result.run.folder}")
    _say(f"next: clipada info {result.run.folder}")
    _say(f"      clipada predict {result.run.folder} YOUR-IMAGES --out out")
    _say("      clipada train FOLDER-OF-YOUR-GOOD-PARTS --backbone nano --out runs/mine")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    data: TrainingFolder = None,
    preset: Annotated[
        str | None, typer.Option(help="quick (minutes on a CPU; the default), or the paper's mvtec or visa.")
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
    devices: Annotated[int, typer.Option(help="How many such devices train together.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images, per device.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training, as it began.")] = False,
) -> None:
    """Train ONE model on the good parts of all categories."""
    from clipada import workflows
    from clipada.plan import begun

    recorded = begun(out) if resume and preset is None else None
    base = recorded or Config.preset(preset or "quick")  # type: ignore[arg-type]
    names = {"backbone": backbone, "refinements": refinements, "textures": textures, "seed": seed}
    config = asked_config(base, settings, epochs, **names)
    dataset = _training_data(data, out if resume else None, layout, category)
    runtime = RuntimeConfig(device=device, devices=devices, workers=workers)
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
    _say(f"next: clipada evaluate {out} {dataset.root if dataset else 'DATA'}")


@app.command()
def evaluate(
    run: RunFolder,
    data: DataFolder,
    backbone: Backbone = None,
    layout: Layout = "auto",
    category: Category = None,
    engine: Engine = None,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    shortcut: Shortcut = False,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Score a data set's test images; print and keep the metrics per category."""
    from clipada import workflows
    from clipada.bundle import METRICS, SCORES

    dataset = _dataset(data, layout, category)
    with _progress() as bar:
        task = bar.add_task("scoring", total=len(dataset.test))
        result = workflows.evaluate(
            run,
            dataset,
            backbone=backbone,
            engine=_engine(engine, precision, device, threads, streams, shortcut),
            batch_size=batch_size,
            workers=workers,
            on_image=lambda _: bar.advance(task),
        )
    _print_metrics(result)
    _say(f"kept in {run / METRICS} and {run / SCORES}")


@app.command()
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
        float, typer.Option(help="Share of good parts that may be called defective.")
    ] = CalibrationConfig.false_alarm_rate,
    confidence: Annotated[
        float, typer.Option(help="Chance that the promise holds, in conditional mode.")
    ] = CalibrationConfig.confidence,
    mode: Annotated[
        CalibrationMode, typer.Option(help="This calibration's own rate, or the mean over calibrations.")
    ] = CalibrationConfig.mode,
    per: Annotated[
        str | None,
        typer.Option(help="Thresholds of its own for each product, folder, or match of a regex in the path."),
    ] = None,
    backbone: Backbone = None,
    engine: Engine = None,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Set thresholds that keep a false-alarm rate, from good parts alone."""
    from clipada.bundle import CALIBRATION
    from clipada.calibrating import calibrate as calibrated
    from clipada.report import calibration_summary

    settings = CalibrationConfig(false_alarm_rate=false_alarm_rate, confidence=confidence, mode=mode, per=per)
    with _progress() as bar:
        task = bar.add_task("calibrating", total=None)
        report = calibrated(
            run,
            images or (),
            settings,
            backbone=backbone,
            engine=_engine(engine, precision, device, threads, streams, shortcut=False),
            batch_size=batch_size,
            workers=workers,
            on_image=lambda: bar.advance(task),
        )
    for failure in report.failures:
        _say(f"left out: {failure.error}", style="yellow")
    for reason, paths in (("trained on", report.trained_on), ("a copy of another", report.copies)):
        if paths:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            _say(f"left out, {reason}: {', '.join(map(str, paths[:3]))}{more}", style="yellow")
    for line in calibration_summary(report.calibration):
        _say(line)
    _say(f"kept in {run / CALIBRATION}")


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
    engine: Engine = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Also store verdicts here, e.g. sqlite:///history.db.")
    ] = None,
    keep_images: Annotated[
        Keep, typer.Option(help="With --database, which images to keep, in clipada-images.")
    ] = HistoryConfig.keep,
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    streams: Streams = 1,
    shortcut: Shortcut = False,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
) -> None:
    """Inspect images: one JSON line each on standard output."""
    from clipada import workflows
    from clipada.types import Failure

    unreadable = count = defective = 0
    calibrated = False
    history = _history(database, keep_images)
    for result in workflows.predict(
        run,
        images,
        out,
        backbone=backbone,
        engine=_engine(engine, precision, device, threads, streams, shortcut),
        threshold=threshold,
        batch_size=batch_size,
        workers=workers,
    ):
        sys.stdout.write(json.dumps(workflows.prediction_record(result)) + "\n")
        count += 1
        if isinstance(result, Failure):
            unreadable += 1
            _say(f"left out: {result.error}", style="yellow")
        else:
            defective += bool(result.defective)
            calibrated = result.calibration is not None
            if history is not None:
                history.store([result])
    where = f"; pictures in {out}" if out else ""
    found = f", {defective} defective" if calibrated else ""
    _say(f"inspected {count - unreadable} images{found}, left out {unreadable}{where}")
    if unreadable == count:
        raise typer.Exit(1)


@app.command()
def report(
    run: RunFolder,
    verdicts: Annotated[
        Path | None, typer.Argument(metavar="[VERDICTS]", help="JSON lines of `clipada predict`, to report on these.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file, or a folder for it; in RUN or beside VERDICTS by default.")
    ] = None,
    backbone: Backbone = None,
    device: Device = "auto",
) -> None:
    """Write one self-contained HTML file: metrics, score histograms, best and worst cases."""
    from clipada import workflows

    result = workflows.report_run(run, verdicts, out, backbone=backbone, device=device)
    for failure in result.failures:
        _say(f"not shown: {failure.error}", style="yellow")
    _say(
        f"reported {result.parts} images, {len(result.failures)} of those chosen not shown; the report is {result.path}"
    )


@app.command()
def export(
    run: RunFolder,
    engine: Annotated[RuntimeName, typer.Option(help="The runtime to export for.")] = "onnx",
    precision: Annotated[EnginePrecision, typer.Option(help="Arithmetic of the export.")] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(help="Images to compare on, and to calibrate int8; where the run was trained by default."),
    ] = None,
    layout: Layout = "auto",
    category: Category = None,
    backbone: Backbone = None,
    shortcut_error: Annotated[
        float | None,
        typer.Option(min=0.0, help="What the shortcut may change of an anomaly map, 0..1; 0.05 by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the export although it differs too much.")] = False,
) -> None:
    """Write the run for a machine without PyTorch; refuse unless it agrees with PyTorch on real images."""
    from clipada.exporting import export as export_run

    dataset = None if data is None else _dataset(data, layout, category)
    config = ExportConfig() if shortcut_error is None else ExportConfig(shortcut_error=shortcut_error)
    with console.status("exporting and comparing"):
        folder, parity = export_run(run, engine, precision, dataset, backbone=backbone, config=config, force=force)
    for line in parity.describe():
        _say(line)
    _say(f"export in {folder}")
    _say(f"next: clipada predict {run} IMAGES --engine {engine} --precision {precision}")


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

    config = asked_config(Config.preset("quick"), settings, textures=textures, seed=seed)
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
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        error_console.print(f"error: this needs {error.name}\n  remedy: pip install 'clipada[{extra}]'", style="red")
        sys.exit(2)
    except (ClipAdaError, OSError) as error:
        error_console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)


def _say(text: str, style: str | None = None) -> None:
    """Print to standard error, no line broken, so that paths and commands can be copied from a log."""
    console.print(text, style=style, soft_wrap=True)


def _training_data(
    data: Path | None, resumed: Path | None, layout: str, categories: list[str] | None
) -> Dataset | None:
    """The data set to train on, said aloud; what is not given is as the training resumed recorded it."""
    from clipada.plan import read_plan

    plan = read_plan(resumed) if resumed else None
    if plan is not None:
        layout = plan.layout if layout == "auto" else layout
        return _dataset(data or plan.data, layout, categories or list(plan.categories))
    return None if data is None else _dataset(data, layout, categories)


def _engine(
    name: EngineName | None,
    precision: EnginePrecision | None,
    device: str,
    threads: int | None,
    streams: int,
    shortcut: bool,
) -> EngineConfig:
    return EngineConfig(
        name=name, precision=precision, device=device, threads=threads, streams=streams, shortcut=shortcut
    )


def _history(database: str | None, keep: Keep) -> History | None:
    """The history to store verdicts in, if one is named."""
    if database is None:
        return None
    from clipada.serving.history import History

    return History(HistoryConfig(database=database, keep=keep))


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
