"""Metrics of a run's last evaluation, for display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipada.errors import RunError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.report.tables import metric_columns, metrics_rows
from clipada.runs import METRICS, Run

PROTOCOL = ("data", "engine", "image_size", "masks", "aupro_fpr_limit", "mean")
"""Entries of an evaluation's protocol that are shown below its table."""

OPTIONAL = ("spro_fpr_limit",)
"""Entries that not every protocol has."""


@dataclass(frozen=True, kw_only=True)
class MetricsTable:
    """Metrics in percent.

    Attributes:
        title: The maps they are of.
        columns: Headings of the metrics.
        rows: Cells of each category's row, then of the mean's.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The metrics of a run's last evaluation.

    Attributes:
        table: Metrics of the final map.
        passes: Metrics of each pass.
        protocol: How they were computed, by the names in ``PROTOCOL``.
        notes: Remarks on masks and test images.
    """

    table: MetricsTable
    passes: tuple[MetricsTable, ...]
    protocol: dict[str, Any]
    notes: tuple[str, ...] = ()


def read_evaluation(run: Run) -> Evaluated | None:
    """Return the content of ``metrics.json`` for display; raise ``RunError`` if it is damaged."""
    if (metrics := run.metrics) is None:
        return None
    passes = metrics.get("passes", [])
    try:
        return Evaluated(
            table=_table("Metrics in percent", metrics),
            passes=tuple(_table(f"Pass {index}", content) for index, content in enumerate(passes)),
            protocol={name: metrics["protocol"][name] for name in PROTOCOL}
            | {name: metrics["protocol"].get(name) for name in OPTIONAL},
            notes=tuple(metrics["protocol"].get("notes", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        what, remedy = f"{run.folder / METRICS} is damaged", "run `clipada evaluate` again"
        raise RunError(what, got=repr(error), remedy=remedy) from error


def _table(title: str, content: dict[str, Any]) -> MetricsTable:
    categories = {name: CategoryMetrics(**values) for name, values in content["categories"].items()}
    rows = metrics_rows(categories, CategoryMetrics(**content["mean"]))
    columns = tuple(metric_columns(categories.values()))
    return MetricsTable(title=title, columns=columns, rows=tuple(map(tuple, rows)))
