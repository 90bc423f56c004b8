"""Command ``reproduce``: run the paper's experiments again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from clipada.cli.errors import continuing
from clipada.cli.options import Backbone, Category, Compile, DataFolder, Device, Layout, Settings
from clipada.cli.terminal import out_console, read_dataset, say, stages
from clipada.config import BASELINE_NAMES, BaselineName, BaselinesConfig, Config, RuntimeConfig
from clipada.config.overrides import asked_config

if TYPE_CHECKING:
    from clipada.research.paper import ReproductionPlan


def reproduce(
    name: Annotated[Literal["mvtec", "visa"], typer.Argument(metavar="mvtec|visa", help="The paper's data set.")],
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="The folder for runs, tables and figures; finished runs are reused.")],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", help="table1 ... figure6, or ablation (three seeds); can be repeated."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only list the runs and how long they take on this machine.")
    ] = False,
    scale: Annotated[
        float,
        typer.Option(
            min=0.0, help="Share of all epochs, also of the baselines; at least one. Milestones are scaled too."
        ),
    ] = 1.0,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds per variant; one by default, three in the ablation.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The schedule; by default the paper's for this data set.")] = None,
    backbone: Backbone = None,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD, as in the paper.")] = None,
    baselines: Annotated[
        str,
        typer.Option(metavar="NAMES", help="For tables 1 to 3: all, none, or e.g. memory-bank,zero-shot."),
    ] = "all",
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
    device: Device = RuntimeConfig.device,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images.")] = None,
    compiled: Compile = False,
    images_per_second: Annotated[
        float | None,
        typer.Option(min=0.001, help="With --plan: training speed with one refinement pass, instead of measuring."),
    ] = None,
) -> None:
    """Train and evaluate the runs of the paper's tables and figures; write published and measured rows side by side.

    Prototypes, which the paper does not have, are only used with --set model.prototypes=1024. The prompt preset's
    similarity, attention and fusion differ from the paper's. The baselines of tables 1 to 3 need a CLIP.
    """
    from clipada.commands import reproduce as command
    from clipada.research import paper

    base = Config.preset(preset or name).updated(  # type: ignore[arg-type]
        {"model.prototypes": 0, "model.prototypes_first": False}
    )
    sizes = BaselinesConfig.preset(preset or name).scaled(scale)  # type: ignore[arg-type]
    compared = replace(sizes, include=_parsed_names(baselines))
    epochs = max(1, round(scale * base.training.epochs))
    config = asked_config(base, settings, epochs, backbone=backbone, textures=textures)
    dataset = read_dataset(data, layout, category)
    say(paper.coverage(dataset, paper.paper_dataset(name)))
    runtime = RuntimeConfig(device=device, workers=workers, compile=compiled)
    with continuing("the same command continues"), stages() as report:
        planning = partial(command.plan_reproduction, images_per_second=images_per_second)
        act: Callable[..., paper.ReproductionPlan | command.Reproduction]
        act = planning if plan else command.reproduce
        made = act(
            name, dataset, out, config, only=only, seeds=seeds, baselines=compared, runtime=runtime, report=report
        )
    if isinstance(made, paper.ReproductionPlan):
        _print_plan(made)
        return
    for path in made.files:
        say(f"wrote {path}")
    say(f"all tables and figures are in {made.page}")


def _parsed_names(baselines: str) -> tuple[BaselineName, ...]:
    """Parse the names of the baselines."""
    if baselines in ("all", "none"):
        return BASELINE_NAMES if baselines == "all" else ()
    return tuple(name.strip() for name in baselines.split(",") if name.strip())  # type: ignore[misc]


def _print_plan(plan: ReproductionPlan) -> None:
    table = Table("run", "for", "images", "images/s", "hours", box=None)
    for planned in plan.runs:
        table.add_row(
            Text(planned.run.label),
            Text(" ".join(planned.items)),
            f"{planned.images:,}",
            f"{planned.rate:.1f}" if planned.rate else "",
            "finished" if planned.run.finished else f"{planned.hours:.2f}",
        )
    out_console.print(table)
    out_console.print(f"{plan.hours:.1f} hours on one device; {plan.basis}", highlight=False)
