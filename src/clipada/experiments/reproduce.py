"""The paper's tables and figures from one call: plan, train, evaluate, write; finished runs are used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError
from clipada.experiments.items import PAGE, Report, Step, draw_item, item_table, write_page
from clipada.experiments.plan import ReproductionPlan, make_plan, measured_rates, scaled_rates
from clipada.experiments.published import DatasetName
from clipada.experiments.results import MeasuredMethod
from clipada.experiments.runs import Experiment, chosen_items, distinct, needed_experiments
from clipada.experiments.tables import Table, write_table
from clipada.machine import find_device, machine
from clipada.settings import require
from clipada.workflows import evaluate, train


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


def plan_reproduction(
    name: DatasetName,
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
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
        runtime: Device and workers.
        images_per_second: The training speed with one refinement pass, that the others are scaled from. By default a
            few steps of each kind of training are timed. With it, neither images nor backbone need be at hand.
        report: Called with what is timed.

    Raises:
        ConfigError: The paper has no such item of this data set.
        DatasetError: There is nothing to train or test on, or no image can be read.
        BackboneError: The backbone cannot be loaded.
    """
    runtime, dataset = runtime or RuntimeConfig(), _usable(data)
    needed = _needed(name, dataset, Path(out), config, only, seeds, lenient=images_per_second is not None)
    experiments = distinct(one for its in needed.values() for one in its)
    if images_per_second is not None:
        rates = scaled_rates(images_per_second, experiments)
        return make_plan(needed, dataset, rates, f"{images_per_second:g} images/s with one pass, as given, and scaled")
    rates = measured_rates(
        experiments, dataset, runtime, lambda what: report(Step(stage=f"timing {what}", done=1, total=1))
    )
    basis = f"images/s measured on {machine(find_device(runtime.device).type)}"
    return make_plan(needed, dataset, rates, basis)


def reproduce(
    name: DatasetName,
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    runtime: RuntimeConfig | None = None,
    methods: Sequence[MeasuredMethod] = (),
    report: Report = lambda _: None,
) -> Reproduction:
    """Train and evaluate what the tables and figures need, and write them.

    Every run has a folder of its own in ``OUT/runs``, named by a hash of all that decides its result: finished ones are
    used again, an unfinished one goes on, and a kill at any time changes nothing of what comes out but speeds measured
    afterwards.

    Args:
        name: ``"mvtec"`` or ``"visa"``: which of the paper's data sets.
        data: A data set or its folder; its categories need not be the paper's.
        out: The folder for runs, tables and figures.
        config: The settings that the variants change; the preset of that name by default.
        only: Items to make, e.g. ``["table4"]``; all of the data set by default.
        seeds: How many seeds; one by default, three in the ablation.
        runtime: Device and workers; one device.
        methods: Other methods measured on the same images, for the first three tables.
        report: Called after every step.

    Raises:
        ConfigError: The paper has no such item of this data set.
        DatasetError: There is nothing to train or test on.
        BackboneError: The backbone cannot be loaded.
        RunError: A run is damaged, or a training diverged.
    """
    runtime, dataset, folder = runtime or RuntimeConfig(), _usable(data), Path(out)
    require(runtime.devices == 1, "devices", "1 to reproduce", runtime.devices)
    files: list[Path] = []
    tables: dict[str, Table] = {}
    for item, experiments in _needed(name, dataset, folder, config, only, seeds).items():
        for experiment in experiments:
            _finish(experiment, dataset, runtime, report)
        table = item_table(item, name, dataset, experiments, runtime, methods, report)
        if table is not None:
            tables[item] = table
            files += write_table(folder, table)
        files += draw_item(item, folder, dataset, experiments, table, runtime)
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
    lenient: bool = False,
) -> dict[str, tuple[Experiment, ...]]:
    """The experiments of each item that is asked for."""
    base = config or Config.preset(name)
    items = chosen_items(name, only)
    sha256 = _backbone_sha256(base, lenient)
    return {item: needed_experiments(item, base, seeds, dataset, sha256, out) for item in items}


def _backbone_sha256(config: Config, lenient: bool) -> str:
    """The hash of the backbone's weights; empty where it is not at hand and need not be."""
    from clipada.backbone import load_clip

    try:
        return load_clip(config.backbone).sha256()
    except BackboneError:
        if not lenient:
            raise
        return ""


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
