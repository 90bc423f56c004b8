"""Reproduce the paper's tables and figures: plan, train, evaluate, write; finished runs are reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipada.commands.evaluate import evaluate
from clipada.commands.train import train
from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.config.schema import require
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError
from clipada.files import lock_folder
from clipada.research.baselines import require_size
from clipada.research.paper.baselines import COMPARED, BaselineRun, finish_baseline, needed_baselines
from clipada.research.paper.experiments import Experiment, chosen_items, needed_experiments
from clipada.research.paper.items import PAGE, draw_item, item_table, require_page_of, write_page
from clipada.research.paper.plan import ReproductionPlan, make_plan
from clipada.research.paper.published import DatasetName
from clipada.research.paper.results import MeasuredMethod
from clipada.research.paper.tables import PaperTable, write_table
from clipada.research.paper.throughput import MeasuredThroughput, ScaledThroughput, ThroughputSource
from clipada.types import Progress, ProgressReport, unreported


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Tables and figures that were made.

    Attributes:
        page: Path of the page with all tables and figures.
        files: Paths of all files written for tables and figures.
        tables: The tables, by item.
    """

    page: Path
    files: tuple[Path, ...]
    tables: Mapping[str, PaperTable] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _NeededRuns:
    """Runs that an item needs."""

    experiments: tuple[Experiment, ...]
    baselines: tuple[BaselineRun, ...]


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
    report: ProgressReport = unreported,
) -> ReproductionPlan:
    """List the needed runs and how long they take on this machine. Nothing is written to ``out``.

    Args:
        name: Name of the paper's data set: ``"mvtec"`` or ``"visa"``.
        data: A data set or its folder.
        out: The folder for the runs.
        config: The settings that the variants change; the preset of that name by default.
        only: Items to make, e.g. ``["table4"]``; all of the data set by default.
        seeds: Number of seeds; one by default, three in the ablation.
        baselines: Names and settings of the baselines of the first three tables; all by default, at their papers'
            sizes.
        runtime: Device and workers.
        images_per_second: Throughput of a training with one refinement pass, from which all others are roughly scaled
            (``research.paper.costs``). By default a few steps of each kind of run are timed. If given, neither readable
            images nor a backbone are needed.
        report: Called before each kind of run is timed.

    Raises:
        ConfigError: The paper has no such item of this data set, or a baseline cannot process images of this size.
        DatasetError: There are no images to train or test on, or no image can be read.
        BackboneError: The backbone cannot be loaded.
    """
    runtime, dataset = runtime or RuntimeConfig(), _usable(data)
    backbone_optional = images_per_second is not None
    needed = _needed(name, dataset, Path(out), config, only, seeds, baselines, backbone_optional)
    runs: dict[str, tuple[Experiment | BaselineRun, ...]]
    runs = {item: (*its.experiments, *its.baselines) for item, its in needed.items()}
    if images_per_second is not None:
        throughput: ThroughputSource = ScaledThroughput(images_per_second, dataset)
    else:

        def timing(name: str) -> None:
            report(Progress(stage=f"timing {name}", done=1, total=1))

        throughput = MeasuredThroughput(dataset, runtime, timing)
    return make_plan(runs, dataset, throughput)


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
    report: ProgressReport = unreported,
) -> Reproduction:
    """Train and evaluate the runs that the tables and figures need, and write these.

    Every run has its own folder in ``OUT/runs``, every baseline one in ``OUT/baselines``, named by a hash of everything
    that determines its result. Finished runs are reused and unfinished ones resumed, so an interruption at any time
    changes nothing in the output except speeds measured afterwards.

    Args:
        name: Name of the paper's data set: ``"mvtec"`` or ``"visa"``.
        data: A data set or its folder; its categories need not be the paper's.
        out: The folder for runs, tables and figures.
        config: The settings that the variants change; the preset of that name by default.
        only: Items to make, e.g. ``["table4"]``; all of the data set by default.
        seeds: Number of seeds; one by default, three in the ablation.
        baselines: Names and settings of the baselines of the first three tables; all by default, at their papers'
            sizes, which require a GPU.
        runtime: Device and workers; a single device.
        methods: Further methods, measured on the same images, for the first three tables.
        report: Called after every step.

    Raises:
        ConfigError: The paper has no such item of this data set, or a baseline cannot process images of this size.
        DatasetError: There are no images to train or test on.
        BackboneError: The backbone cannot be loaded.
        RunError: A run is damaged, a training diverged, or ``out`` contains tables of the other data
            set or is in use by another process.
    """
    runtime, dataset, folder = runtime or RuntimeConfig(), _usable(data), Path(out)
    require(runtime.together == (1, 1), "devices, nodes", "1 to reproduce", runtime.together)
    files: list[Path] = []
    tables: dict[str, PaperTable] = {}
    with lock_folder(folder):
        require_page_of(folder, name)
        for item, its in _needed(name, dataset, folder, config, only, seeds, baselines).items():
            for experiment in its.experiments:
                _finish(experiment, dataset, runtime, report)
            for run in its.baselines:
                finish_baseline(run, dataset, runtime, report)
            table = item_table(item, name, dataset, its.experiments, runtime, methods, its.baselines, report)
            if table is not None:
                tables[item] = table
                files += write_table(folder, table)
            files += draw_item(item, folder, dataset, its.experiments, table, runtime)
            report(Progress(stage=f"writing {item}", done=1, total=1))
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
    backbone_optional: bool = False,
) -> dict[str, _NeededRuns]:
    """Return the runs that each requested item needs."""
    settings = baselines or BaselinesConfig()
    items = chosen_items(name, only)
    if not any(item in COMPARED for item in items):
        settings = replace(settings, include=())
    base, sha256 = _with_backbone(config or Config.preset(name), settings, backbone_optional)
    runs = needed_baselines(settings, base, seeds, dataset, sha256, out)
    return {
        item: _NeededRuns(
            experiments=needed_experiments(item, base, seeds, dataset, sha256, out),
            baselines=runs if item in COMPARED else (),
        )
        for item in items
    }


def _with_backbone(config: Config, baselines: BaselinesConfig, backbone_optional: bool) -> tuple[Config, str]:
    """Return the settings with the backbone's defaults, and the hash of its weights.

    Also checks that the baselines can process images of this size, before anything is trained. If the backbone is
    missing and ``backbone_optional``, the settings stay as they are and the hash is empty.
    """
    from clipada.models.backbones import load_backbone, load_clip, with_defaults

    try:
        config = with_defaults(config)
        backbone = (load_clip if baselines.include else load_backbone)(config.backbone)
    except BackboneError:
        if not backbone_optional:
            raise
        return config, ""
    for name in baselines.include:
        require_size(name, baselines, config.model.size[0], backbone.grid(config.model.size))
    return config, backbone.sha256()


def _finish(experiment: Experiment, dataset: Dataset, runtime: RuntimeConfig, report: ProgressReport) -> None:
    """Train and evaluate an experiment, unless that is done."""

    def labeled(now: Progress) -> None:
        note = now.note
        if now.losses:
            note = f"epoch {now.epoch}, loss {now.losses[-1]:.4f}, {now.images_per_second:.1f} images/s"
        report(replace(now, stage=f"{experiment.label}: {now.stage}", note=note))

    if not experiment.trained:
        train(dataset, experiment.folder, experiment.config, runtime=runtime, resume=True, report=labeled)
    if not experiment.finished:
        backbone = experiment.config.backbone.name
        evaluate(experiment.folder, dataset, backbone=backbone, engine="torch", device=runtime.device, report=labeled)
