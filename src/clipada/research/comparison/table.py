"""Table of a comparison: every method's means, and the run's differences to it with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipada.evaluation.metrics import CategoryMetrics
from clipada.evaluation.paired import (
    LEVEL,
    METRICS,
    Interval,
    difference_intervals,
    draw_means,
    require_same_images,
)
from clipada.files import write_json, write_text
from clipada.research.comparison.folders import MethodScores

COLUMNS: Mapping[str, str] = dict(zip(METRICS, ("I-AUC", "P-AUC", "P-mAP", "AUPRO"), strict=True))
"""Headings of the compared metrics."""

PAGE, RECORD = "comparison.md", "comparison.json"


@dataclass(frozen=True, kw_only=True)
class ComparedMethod:
    """One row of a comparison.

    Attributes:
        label: Name of the method.
        mean: Means over categories.
        categories: Metrics by category.
        ahead: The first method's mean minus this one's, for each of ``METRICS``; empty for the first itself.
        intervals: The interval of each of these differences; ``None`` where it is undefined.
    """

    label: str
    mean: CategoryMetrics
    categories: Mapping[str, CategoryMetrics]
    ahead: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)


def compared_methods(methods: Sequence[MethodScores], resamples: int, seed: int = 0) -> tuple[ComparedMethod, ...]:
    """Compare the first method with all others.

    Args:
        methods: Their results on the same test images.
        resamples: Number of draws of the test images.
        seed: Source of the draws.

    Raises:
        RunError: They are not of the same images.
    """
    first, *others = methods
    rows = [ComparedMethod(label=first.label, mean=first.mean, categories=first.metrics)]
    drawn = draw_means(first.scores, resamples, seed)
    for other in others:
        require_same_images(first.scores, other.scores, other.label)
        rows.append(
            ComparedMethod(
                label=other.label,
                mean=other.mean,
                categories=other.metrics,
                ahead={name: _difference(first.mean, other.mean, name) for name in METRICS},
                intervals=difference_intervals(drawn, draw_means(other.scores, resamples, seed)),
            )
        )
    return tuple(rows)


def write_comparison(folder: Path, rows: Sequence[ComparedMethod], facts: Mapping[str, Any]) -> tuple[Path, ...]:
    """Write ``comparison.md`` and ``comparison.json`` and return their paths.

    Args:
        folder: The folder.
        rows: The methods, the run first.
        facts: Data set, number of draws and the like, for the record.
    """
    write_text(folder / PAGE, markdown(rows, facts))
    write_json(folder / RECORD, {**facts, "level": LEVEL, "methods": [asdict(row) for row in rows]})
    return folder / PAGE, folder / RECORD


def markdown(rows: Sequence[ComparedMethod], facts: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown: means, differences with intervals, and every category."""
    first = rows[0].label
    means = [[row.label, *(percent(getattr(row.mean, name)) for name in METRICS)] for row in rows]
    ahead = [[row.label, *(difference(row, name) for name in METRICS)] for row in rows[1:]]
    by_category = [
        [row.label, *(" / ".join(percent(getattr(metrics, name)) for name in METRICS) for metrics in found)]
        for row in rows
        if (found := list(row.categories.values()))
    ]
    heads = [*COLUMNS.values()]
    parts = [
        f"# Comparison on {facts['data']}",
        f"Percent; means over {len(rows[0].categories)} categories, {rows[0].mean.n_normal} normal and "
        f"{rows[0].mean.n_anomalous} anomalous test images.",
        _table(["method", *heads], means),
    ]
    if ahead:
        parts += [
            f"{first} minus each method, in points, with the interval of {100 * LEVEL:g} % of {facts['resamples']} "
            "draws of the test images (paired: both methods on the same draws).",
            _table([f"{first} minus", *heads], ahead),
        ]
    parts += [f"By category: {' / '.join(heads)}.", _table(["method", *rows[0].categories], by_category)]
    return "\n\n".join(parts) + "\n"


def percent(share: float | None) -> str:
    """Format a share in percent, or that it is undefined."""
    return "–" if share is None else f"{100 * share:.1f}"


def difference(row: ComparedMethod, name: str) -> str:
    """Format the first method's lead in points, e.g. ``"+3.2 [+1.0, +5.4]"``; empty for the first itself."""
    if name not in row.ahead:
        return ""
    ahead, interval = row.ahead[name], row.intervals[name]
    if ahead is None:
        return "–"
    limits = "" if interval is None else f" [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"{100 * ahead:+.1f}{limits}"


def _difference(first: CategoryMetrics, other: CategoryMetrics, name: str) -> float | None:
    values = getattr(first, name), getattr(other, name)
    return None if None in values else values[0] - values[1]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
