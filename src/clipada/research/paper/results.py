"""What was measured, as rows: means and spreads over seeds, beside rows of other methods measured elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal

from clipada.config import ScheduleConfig, TrainingConfig
from clipada.errors import RunError
from clipada.evaluation.metrics import CategoryMetrics, mean_metrics
from clipada.research.paper.experiments import Experiment
from clipada.research.paper.published import MEAN, OURS, PublishedRow
from clipada.runs import read_run

Origin = Literal["published", "measured", "difference"]

SHARED_MEAN = "shared mean"
"""The mean over those of the measured categories that the paper has too."""

METRICS = {"image_auroc": "I-AUC", "pixel_auroc": "P-AUC", "pixel_ap": "P-mAP"}
"""The paper's metrics, by ``CategoryMetrics`` field."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a reproduction stands.

    Attributes:
        stage: What it does, e.g. ``"training r1-learned, seed 0"``.
        done: Steps of this stage that are done, of ``total``.
        total: Steps of this stage in all.
        note: More, in words.
    """

    stage: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        value: In percent for metrics; a difference in points.
        spread: Sample standard deviation over seeds; ``None`` for a single one.
    """

    value: float
    spread: float | None = None


Figures = Mapping[str, Mapping[str, Figure]]
"""Figures by metric, then by category; ``MEAN`` and ``SHARED_MEAN`` stand among the categories."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        label: What it is, for a person.
        origin: Published, measured here, or measured less published.
        variant: The variant of CLIP-ADA; empty for other methods.
        figures: By metric and category.
        seeds: Over how many seeds it was measured.
        runs: Names of the run folders it was measured on.
    """

    label: str
    origin: Origin
    figures: Figures
    variant: str = ""
    seeds: int = 1
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MeasuredMethod:
    """Another method, measured on the same images by the same protocol: a row of the first three tables.

    Attributes:
        name: Its name.
        metrics: By category, once for each seed.
        runs: Names of the folders that hold them.
    """

    name: str
    metrics: Sequence[Mapping[str, CategoryMetrics]] = field(repr=False)
    runs: tuple[str, ...] = ()


def published_row(row: PublishedRow, shared: Sequence[str]) -> Row:
    """A published row; ``shared`` are the categories its shared mean is over."""
    figures = {
        metric: {category: Figure(value=value) for category, value in values.items()}
        | _shared_mean({name: Figure(value=value) for name, value in values.items()}, shared)
        for metric, values in row.figures.items()
    }
    extras = {name: {"": Figure(value=value)} for name, value in row.extras.items()}
    label = row.method if row.method != OURS or not row.variant else f"{OURS}, {described(row.variant)}"
    return Row(label=label, origin="published", figures=figures | extras, variant=row.variant)


def measured_rows(experiments: Sequence[Experiment], shared: Sequence[str], every_pass: bool = False) -> list[Row]:
    """One row for each variant, over its seeds.

    Args:
        experiments: Finished ones.
        shared: The categories that the shared mean is over.
        every_pass: Also a row for the last pass alone, where another map counts.
    """
    rows: list[Row] = []
    for variant in dict.fromkeys(experiment.variant for experiment in experiments):
        group = [experiment for experiment in experiments if experiment.variant == variant]
        contents = [_metrics(experiment) for experiment in group]
        names = tuple(experiment.folder.name for experiment in group)
        label = f"{OURS}, {described(variant)}"
        figures = seed_figures([categories_of(content) for content in contents], shared)
        rows.append(Row(label=label, origin="measured", figures=figures, variant=variant, seeds=len(group), runs=names))
        passes = len(contents[0]["passes"])
        if every_pass and passes > 1 and group[0].config.scoring.fusion != "last":
            last = seed_figures([categories_of(content["passes"][-1]) for content in contents], shared)
            rows.append(
                Row(label=f"{label}, last pass alone", origin="measured", figures=last, seeds=len(group), runs=names)
            )
    return rows


def method_row(method: MeasuredMethod, shared: Sequence[str]) -> Row:
    """The row of another method that was measured."""
    figures = seed_figures(method.metrics, shared)
    return Row(label=method.name, origin="measured", figures=figures, seeds=len(method.metrics), runs=method.runs)


def difference(measured: Row, published: Row, comparable: bool) -> Row:
    """Measured less published, wherever both have a metric; means over categories only where these are the same."""
    figures: dict[str, dict[str, Figure]] = {}
    for metric, values in measured.figures.items():
        theirs = published.figures.get(metric, {})
        differing = {
            category: Figure(value=round(figure.value - theirs[category].value, 6))
            for category, figure in values.items()
            if metric in METRICS and category in theirs and (comparable or category != MEAN)
        }
        if differing:
            figures[metric] = differing
    label = f"{measured.label}: measured less published"
    return Row(label=label, origin="difference", figures=figures, variant=measured.variant, seeds=measured.seeds)


def seed_figures(seeds: Sequence[Mapping[str, CategoryMetrics]], shared: Sequence[str]) -> Figures:
    """Mean and spread over seeds of every metric, by category and for the means over categories."""
    means = [
        {**metrics, MEAN: mean_metrics(metrics.values())}
        | ({SHARED_MEAN: mean_metrics([metrics[name] for name in shared])} if shared else {})
        for metrics in seeds
    ]
    return {
        metric: {
            category: _over_seeds(values)
            for category in means[0]
            if None not in (values := [getattr(one[category], metric) for one in means])
        }
        for metric in METRICS
    }


def lasting(schedule: TrainingConfig | ScheduleConfig) -> str:
    """A schedule in words."""
    return f"{schedule.epochs} epoch{'s' * (schedule.epochs > 1)} of batch {schedule.batch_size}"


def described(variant: str) -> str:
    """A variant in words."""
    kind, _, what = variant.partition("-")
    if kind == "tune":
        return {"both": "text and image encoder", "none": "no encoder"}.get(what, f"{what} encoder") + " tuned"
    if kind == "share":
        return f"{what} % of the training images"
    return f"R = {kind[1:]}, {what} prompt"


def _over_seeds(values: Sequence[float]) -> Figure:
    percent = [100 * value for value in values]
    return Figure(value=fmean(percent), spread=stdev(percent) if len(percent) > 1 else None)


def _shared_mean(values: Mapping[str, Figure], shared: Sequence[str]) -> dict[str, Figure]:
    """The mean over the shared categories, if all of them are there."""
    if not shared or any(name not in values for name in shared):
        return {}
    return {SHARED_MEAN: Figure(value=fmean(values[name].value for name in shared))}


def _metrics(experiment: Experiment) -> dict[str, Any]:
    content = read_run(experiment.folder).metrics
    if content is None:
        raise RunError(f"run {experiment.folder} was not evaluated", remedy="run `clipada reproduce` again")
    return content


def categories_of(content: Mapping[str, Any]) -> dict[str, CategoryMetrics]:
    """Metrics by category from the content of a ``metrics.json``, or of one of its passes."""
    return {name: CategoryMetrics(**values) for name, values in content["categories"].items()}
