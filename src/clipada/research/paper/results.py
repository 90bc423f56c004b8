"""Results as rows of tables: means and spreads over seeds, beside published rows and rows of other methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""Name of the mean over the measured categories that the paper also has."""

METRICS = {"image_auroc": "I-AUC", "pixel_auroc": "P-AUC", "pixel_ap": "P-mAP"}
"""Names of the paper's metrics, by field of ``CategoryMetrics``."""


@dataclass(frozen=True, kw_only=True)
class CellValue:
    """One number of a table.

    Attributes:
        value: In percent for metrics; a difference in points.
        spread: Sample standard deviation over seeds; ``None`` for a single seed.
    """

    value: float
    spread: float | None = None


CellValues = Mapping[str, Mapping[str, CellValue]]
"""Numbers by metric, then by category; ``MEAN`` and ``SHARED_MEAN`` are among the categories."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table.

    Attributes:
        label: Name of the row, for a person.
        origin: Published, measured here, or measured minus published.
        variant: The variant of CLIP-ADA; empty for other methods.
        figures: By metric and category.
        seeds: Number of seeds.
        runs: Names of the run folders with the results.
    """

    label: str
    origin: Origin
    figures: CellValues
    variant: str = ""
    seeds: int = 1
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MeasuredMethod:
    """Another method, measured on the same images by the same protocol: a row of the first three tables.

    Attributes:
        name: Label of its row.
        metrics: Metrics by category, once for each seed.
        runs: Names of the folders with the results.
    """

    name: str
    metrics: Sequence[Mapping[str, CategoryMetrics]] = field(repr=False)
    runs: tuple[str, ...] = ()


def published_row(row: PublishedRow, shared: Sequence[str]) -> TableRow:
    """Convert a published row; its shared mean is over the categories ``shared``."""
    figures = {
        metric: {category: CellValue(value=value) for category, value in values.items()}
        | _shared_mean({name: CellValue(value=value) for name, value in values.items()}, shared)
        for metric, values in row.figures.items()
    }
    extras = {name: {"": CellValue(value=value)} for name, value in row.extras.items()}
    label = row.method if row.method != OURS or not row.variant else f"{OURS}, {described(row.variant)}"
    return TableRow(label=label, origin="published", figures=figures | extras, variant=row.variant)


def measured_rows(experiments: Sequence[Experiment], shared: Sequence[str], every_pass: bool = False) -> list[TableRow]:
    """Return one row for each variant, over its seeds.

    Args:
        experiments: Finished experiments.
        shared: The categories of the shared mean.
        every_pass: True to add a row for the last pass alone, where the final map is a different one.
    """
    rows: list[TableRow] = []
    for variant in dict.fromkeys(experiment.variant for experiment in experiments):
        group = [experiment for experiment in experiments if experiment.variant == variant]
        contents = [_metrics(experiment) for experiment in group]
        names = tuple(experiment.folder.name for experiment in group)
        label = f"{OURS}, {described(variant)}"
        figures = seed_figures([categories_of(content) for content in contents], shared)
        rows.append(
            TableRow(label=label, origin="measured", figures=figures, variant=variant, seeds=len(group), runs=names)
        )
        passes = len(contents[0]["passes"])
        if every_pass and passes > 1 and group[0].config.scoring.fusion != "last":
            last = seed_figures([categories_of(content["passes"][-1]) for content in contents], shared)
            rows.append(
                TableRow(
                    label=f"{label}, last pass alone", origin="measured", figures=last, seeds=len(group), runs=names
                )
            )
    return rows


def method_row(method: MeasuredMethod, shared: Sequence[str]) -> TableRow:
    """Return the row of another measured method."""
    figures = seed_figures(method.metrics, shared)
    return TableRow(label=method.name, origin="measured", figures=figures, seeds=len(method.metrics), runs=method.runs)


def difference(measured: TableRow, published: TableRow, comparable: bool) -> TableRow:
    """Subtract published from measured values where both exist; means over categories only if these are the same."""
    figures: dict[str, dict[str, CellValue]] = {}
    for metric, values in measured.figures.items():
        theirs = published.figures.get(metric, {})
        differing = {
            category: CellValue(value=round(figure.value - theirs[category].value, 6))
            for category, figure in values.items()
            if metric in METRICS and category in theirs and (comparable or category != MEAN)
        }
        if differing:
            figures[metric] = differing
    label = f"{measured.label}: measured less published"
    return TableRow(label=label, origin="difference", figures=figures, variant=measured.variant, seeds=measured.seeds)


def seed_figures(seeds: Sequence[Mapping[str, CategoryMetrics]], shared: Sequence[str]) -> CellValues:
    """Compute mean and spread over seeds of every metric, by category and for the means over categories."""
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


def described_schedule(schedule: TrainingConfig | ScheduleConfig) -> str:
    """Describe a schedule, for a person."""
    return f"{schedule.epochs} epoch{'s' * (schedule.epochs > 1)} of batch {schedule.batch_size}"


def described(variant: str) -> str:
    """Describe a variant, for a person."""
    kind, _, what = variant.partition("-")
    if kind == "tune":
        return {"both": "text and image encoder", "none": "no encoder"}.get(what, f"{what} encoder") + " tuned"
    if kind == "share":
        return f"{what} % of the training images"
    return f"R = {kind[1:]}, {what} prompt"


def _over_seeds(values: Sequence[float]) -> CellValue:
    percent = [100 * value for value in values]
    return CellValue(value=fmean(percent), spread=stdev(percent) if len(percent) > 1 else None)


def _shared_mean(values: Mapping[str, CellValue], shared: Sequence[str]) -> dict[str, CellValue]:
    """Compute the mean over the shared categories, if all of them have a value."""
    if not shared or any(name not in values for name in shared):
        return {}
    return {SHARED_MEAN: CellValue(value=fmean(values[name].value for name in shared))}


def _metrics(experiment: Experiment) -> dict[str, Any]:
    content = read_run(experiment.folder).metrics
    if content is None:
        raise RunError(f"run {experiment.folder} was not evaluated", remedy="run `clipada reproduce` again")
    return content


def categories_of(content: Mapping[str, Any]) -> dict[str, CategoryMetrics]:
    """Read the metrics by category from the content of a ``metrics.json``, or of one of its passes."""
    return {name: CategoryMetrics(**values) for name, values in content["categories"].items()}
