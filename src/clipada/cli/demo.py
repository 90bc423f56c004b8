"""The command ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.errors import again, continuing
from clipada.cli.options import (
    Backbone,
    Device,
    Settings,
    TrainingWorkers,
)
from clipada.cli.results import GOOD_PARTS, print_decisions, print_metrics
from clipada.cli.terminal import say, stages
from clipada.config import EMBEDDED_BACKBONE, PRESETS, Config, DemoConfig, RuntimeConfig
from clipada.config.overrides import asked_config


def demo(
    out: Annotated[Path, typer.Option(help="The folder for images, run and pictures.")] = Path(DemoConfig.out),
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
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts and of the training.")] = DemoConfig.seed,
    preset: Annotated[
        str,
        typer.Option(autocompletion=lambda: list(PRESETS), help="demo; accurate: finds more defects, takes longer."),
    ] = "demo",
    backbone: Backbone = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the preset's milestones scale along.")] = None,
    settings: Settings = None,
    device: Device = RuntimeConfig.device,
    workers: TrainingWorkers = RuntimeConfig.workers,
) -> None:
    """See it all work, offline: draw three products, train ONE model on good parts, find defects it never saw."""
    parts = DemoConfig(
        train=train, good=good, defective=defective, held_out=held_out, false_alarm_rate=false_alarm_rate, seed=seed
    )
    with continuing(f"{again()} continues"), stages() as show:
        from clipada.commands import demo as command
        from clipada.data.demo import write_demo
        from clipada.report import calibration_summary

        if data_only is not None:
            write_demo(data_only, parts, show)
            say(f"the images are in {data_only}")
            say(f"next: clipada train {data_only} --preset demo --out runs/parts")
            return
        runtime = RuntimeConfig(device=device, workers=workers)
        base = Config.preset(preset)  # type: ignore[arg-type]
        config = asked_config(base, settings, epochs, backbone=backbone or EMBEDDED_BACKBONE, seed=seed)
        result = command.demo(out, config, parts=parts, runtime=runtime, report=show)
    print_metrics(result.evaluation)
    if result.evaluation.decisions is not None:
        print_decisions(result.evaluation.decisions, parts.false_alarm_rate)
    say(f"one model for {len(result.evaluation.categories)} products, trained in {result.run.training.seconds:.0f} s")
    for line in calibration_summary(result.calibration):
        say(line)
    say(f"the report is {result.page}")
    say(f"pictures of every kind of defect in {result.pictures}, the run in {result.run.folder}")
    for line in _next_steps(result.run.folder):
        say(line)


def _next_steps(run: Path) -> tuple[str, ...]:
    """Return the commands that go from here to verdicts on the reader's own parts."""
    return (
        f"next: clipada info {run}",
        "with your own parts: clipada start PHOTOS --out runs/mine; or step by step:",
        "      clipada train PHOTOS --out runs/mine",
        f"      clipada calibrate runs/mine {GOOD_PARTS}",
        "      clipada evaluate runs/mine PHOTOS",
        "      clipada predict runs/mine NEW-PARTS --out out",
        "      clipada report runs/mine out",
    )
