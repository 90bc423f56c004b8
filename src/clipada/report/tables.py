"""Metrics as tables, in percent: for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import rich.box
from rich.table import Table
from rich.text import Text

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

_UNDEFINED = "–"


def metrics_table(categories: Mapping[str, CategoryMetrics], mean: CategoryMetrics, title: str) -> Table:
    """Return a table for the terminal: one row per category in the given order, then the mean.

    Args:
        categories: Metrics by category.
        mean: Their mean, as ``mean_metrics`` returns it.
        title: Title above the table, without markup.

    Returns:
        Metrics in percent with one decimal, "–" where undefined; the counts of normal and anomalous images, in the
        mean's row their totals.
    """
    table = Table(title=Text(title, style="bold"), title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("category", overflow="fold")
    for head in COLUMNS:
        table.add_column(head, justify="right", no_wrap=True)
    *rows, last = metrics_rows(categories, mean)
    for name, *cells in rows:
        table.add_row(Text(name), *cells)
    table.add_section()
    table.add_row(*last, style="bold")
    return table


def metrics_markdown(categories: Mapping[str, CategoryMetrics], mean: CategoryMetrics) -> str:
    """Return the same table in Markdown, with the mean's row in bold."""
    *rows, last = metrics_rows(categories, mean)
    lines = [["category", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    lines += [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines.append([f"**{cell}**" for cell in last])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def metrics_rows(categories: Mapping[str, CategoryMetrics], mean: CategoryMetrics) -> Iterator[list[str]]:
    """Yield the cells of each category's row, then of the mean's: the name, then one per entry of ``COLUMNS``."""
    for name, metrics in (*categories.items(), ("mean", mean)):
        values = metrics.to_dict()
        yield [name, *(_cell(values[field]) for field in COLUMNS.values())]


def _cell(value: float | int | None) -> str:
    """Format a share in percent, a count as an integer."""
    if value is None:
        return _UNDEFINED
    return str(value) if isinstance(value, int) else f"{100 * value:.1f}"
