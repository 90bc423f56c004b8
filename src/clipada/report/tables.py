"""Metrics as tables, in percent: for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clipada.evaluation.metrics import CategoryMetrics

COLUMNS = {
    "I-AUC": "image_auroc",
    "P-AUC": "pixel_auroc",
    "P-mAP": "pixel_ap",
    "AUPRO": "aupro",
    "I-AP": "image_ap",
    "I-F1": "image_f1_max",
    "P-F1": "pixel_f1_max",
    "normal": "n_normal",
    "anomalous": "n_anomalous",
}
"""Column headings, the paper's three first, and the ``CategoryMetrics`` field of each."""

SATURATED = {"sPRO": "spro"}
"""The column of metrics with saturation thresholds, which is left out without any."""

_UNDEFINED = "–"


def metrics_markdown(categories: Mapping[str, CategoryMetrics], mean: CategoryMetrics) -> str:
    """Return a table in Markdown: one row per category in the given order, then the mean in bold.

    Args:
        categories: Metrics by category.
        mean: Their mean, as ``mean_metrics`` returns it.

    Returns:
        Metrics in percent with one decimal, "–" where undefined; the counts of normal and anomalous images, in the
        mean's row their totals.
    """
    *rows, last = metrics_rows(categories, mean)
    columns = metric_columns(categories.values())
    lines = [["category", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines.append([f"**{cell}**" for cell in last])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def metric_columns(metrics: Iterable[CategoryMetrics]) -> dict[str, str]:
    """Return the columns of a table of metrics: ``COLUMNS``, and that of sPRO behind AUPRO where it is defined."""
    if all(one.spro is None for one in metrics):
        return COLUMNS
    place = list(COLUMNS).index("AUPRO") + 1
    columns = [*COLUMNS.items()]
    return dict([*columns[:place], *SATURATED.items(), *columns[place:]])


def metrics_rows(categories: Mapping[str, CategoryMetrics], mean: CategoryMetrics) -> Iterator[list[str]]:
    """Yield the cells of each category's row, then of the mean's: the name, then one of each of ``metric_columns``."""
    columns = metric_columns(categories.values()).values()
    for name, metrics in (*categories.items(), ("mean", mean)):
        values = metrics.to_dict()
        yield [name, *(_cell(values.get(field)) for field in columns)]


def _cell(value: float | int | None) -> str:
    """Format a share in percent, a count as an integer."""
    if value is None:
        return _UNDEFINED
    return str(value) if isinstance(value, int) else f"{100 * value:.1f}"
