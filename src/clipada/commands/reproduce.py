"""The paper's tables and figures from one call: plan, train, evaluate, write; finished runs are used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clipada.commands.evaluate import evaluate
from clipada.commands.train import train
from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.config.schema import require
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError
from clipada.files import held
from clipada.research.baselines import require_size
from clipada.research.paper.baselines import COMPARED, Contender, finish_contender, needed_contenders
from clipada.research.paper.experiments import Experiment, chosen_items, needed_experiments
from clipada.research.paper.items import PAGE, draw_item, item_table, require_page_of, write_page
from clipada.research.paper.plan import ReproductionPlan, make_plan
from clipada.research.paper.published import DatasetName
from clipada.research.paper.results import MeasuredMethod, Report, Step
from clipada.research.paper.tables import Table, write_table
from clipada.research.paper.throughput import MeasuredPace, Pace, ScaledPace


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What was made.

    Attributes:
        page: All tables and figures on one page.
        files: Every file written for a table or a figure.
        tables: The tables by item.
    """

    page: Path
    files: tuple[Path, ...]
    tables: Mapping[str, Table] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Needed:
    """What an item rests on."""

    experiments: tuple[Experiment, ...]
    contenders: tuple[Contender, ...]


def plan_reproduction(
    name: DatasetName,
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    baselines: BaselinesConfig | None = None,
    runtime: RuntimeConfig | None = None,
    images_per_second: float | None = None,
    report: Report = lambda _: None,
) -> ReproductionPlan:
    """List the runs that are needed and how long they take here. Nothing is kept.

    Args:
        name: ``"mvtec"`` or ``"visa"``: which of the paper's data sets.
        data: A data set or its folder.
        out: Where the runs are kept, or will be.
        config: The settings that the variants change; the preset of that name by default.
        only: Items to make, e.g. ``["table4"]``; all of the data set by default.
        seeds: How many seeds; one by default, three in the ablation.
        baselines: Which stand in the first three tables, and their settings; all by default, at their papers' sizes.
        runtime: Device and workers.
        images_per_second: The training speed with one refinement pass, that all else is scaled from. By default a
            few steps of each kind of training are timed. With it, neither images nor backbone need be at hand.
        report: Called with what is timed.

    Raises:
        ConfigError: The paper has no such item of this data set, or a baseline cannot take images of this size.
        DatasetError: There is nothing to train or test on, or no image can be read.
        BackboneError: The backbone cannot be loaded.
    """
    runtime, dataset = runtime or RuntimeConfig(), _usable(data)
    lenient = images_per_second is not None
    needed = _needed(name, dataset, Path(out), config, only, seeds, baselines, lenient)
    runs: dict[str, tuple[Experiment | Contender, ...]]
    runs = {item: (*its.experiments, *its.contenders) for item, its in needed.items()}
    if images_per_second is not None:
        pace: Pace = ScaledPace(images_per_second, dataset)
    else:
        pace = MeasuredPace(dataset, runtime, lambda what: report(Step(stage=f"timing {what}", done=1, total=1)))
    return make_plan(runs, dataset, pace)


def reproduce(
    name: DatasetName,
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    baselines: BaselinesConfig | None = None,
    runtime: RuntimeConfig | None = None,
    methods: Sequence[MeasuredMethod] = (),
    report: Report = lambda _: None,
) -> Reproduction:
    """Train and evaluate what the tables and figures need, and write them.

    Every run has a folder of its own in ``OUT/runs``, every baseline one in ``OUT/baselines``, named by a hash of all
    that decides its result: finished ones are used again, an unfinished one goes on, and a kill at any time changes
    nothing of what comes out but speeds measured afterwards.

    Args:
        name: ``"mvtec"`` or ``"visa"``: which of the paper's data sets.
        data: A data set or its folder; its categories need not be the paper's.
        out: The folder for runs, tables and figures.
        config: The settings that the variants change; the preset of that name by default.
        only: Items to make, e.g. ``["table4"]``; all of the data set by default.
        seeds: How many seeds; one by default, three in the ablation.
        baselines: Which stand in the first three tables, and their settings; all by default, at their papers' sizes,
            which want a GPU.
        runtime: Device and workers; one device.
        methods: Further methods measured on the same images, for the first three tables.
        report: Called after every step.

    Raises:
        ConfigError: The paper has no such item of this data set, or a baseline cannot take images of this size.
        DatasetError: There is nothing to train or test on.
        BackboneError: The backbone cannot be loaded.
        RunError: A run is damaged, a training diverged, or ``out`` holds tables of the other data set
            or is another process's.
    """
    runtime, dataset, folder = runtime or RuntimeConfig(), _usable(data), Path(out)
    require(runtime.together == (1, 1), "devices, nodes", "1 to reproduce", runtime.together)
    files: list[Path] = []
    tables: dict[str, Table] = {}
    with held(folder):
        require_page_of(folder, name)
        for item, its in _needed(name, dataset, folder, config, only, seeds, baselines).items():
            for experiment in its.experiments:
                _finish(experiment, dataset, runtime, report)
            for contender in its.contenders:
                finish_contender(contender, dataset, runtime, report)
            table = item_table(item, name, dataset, its.experiments, runtime, methods, its.contenders, report)
            if table is not None:
                tables[item] = table
                files += write_table(folder, table)
            files += draw_item(item, folder, dataset, its.experiments, table, runtime)
            report(Step(stage=f"writing {item}", done=1, total=1))
            write_page(folder, name)
    return Reproduction(page=folder / PAGE, files=tuple(files), tables=tables)


def _usable(data: Path | str | Dataset) -> Dataset:
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_training()
    dataset.require_test()
    return dataset


def _needed(
    name: DatasetName,
    dataset: Dataset,
    out: Path,
    config: Config | None,
    only: Sequence[str] | None,
    seeds: int | None,
    baselines: BaselinesConfig | None,
    lenient: bool = False,
) -> dict[str, _Needed]:
    """What each item that is asked for rests on."""
    base, settings = config or Config.preset(name), baselines or BaselinesConfig()
    items = chosen_items(name, only)
    if not any(item in COMPARED for item in items):
        settings = replace(settings, include=())
    sha256 = _backbone_sha256(base, settings, lenient)
    contenders = needed_contenders(settings, base, seeds, dataset, sha256, out)
    return {
        item: _Needed(
            experiments=needed_experiments(item, base, seeds, dataset, sha256, out),
            contenders=contenders if item in COMPARED else (),
        )
        for item in items
    }


def _backbone_sha256(config: Config, baselines: BaselinesConfig, lenient: bool) -> str:
    """The hash of the backbone's weights; empty where it is not at hand and need not be.

    Baselines that could not take the images are refused on the way, before anything is trained.
    """
    from clipada.models.backbones import load_clip

    try:
        clip = load_clip(config.backbone)
    except BackboneError:
        if not lenient:
            raise
        return ""
    for name in baselines.include:
        require_size(name, baselines, config.model.image_size, clip.grid((config.model.image_size,) * 2))
    return clip.sha256()


def _finish(experiment: Experiment, dataset: Dataset, runtime: RuntimeConfig, report: Report) -> None:
    """Train and evaluate, unless that is done."""
    if not experiment.trained:
        stage = f"training {experiment.label}"

        def show(now: Any) -> None:
            note = f"epoch {now.epoch}, loss {now.losses[-1]:.4f}, {now.images_per_second:.1f} images/s"
            report(Step(stage=stage, done=now.step, total=now.steps, note=note))

        train(dataset, experiment.folder, experiment.config, runtime=runtime, resume=True, report=show)
    if not experiment.finished:
        scored: list[object] = []

        def count(image: object) -> None:
            scored.append(image.sample)  # type: ignore[attr-defined]
            report(Step(stage=f"evaluating {experiment.label}", done=len(scored), total=len(dataset.test)))

        backbone = experiment.config.backbone.name
        evaluate(experiment.folder, dataset, backbone=backbone, engine="torch", device=runtime.device, on_image=count)
