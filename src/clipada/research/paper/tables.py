"""The paper's tables with measured rows beside the published ones, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from clipada.files import write_text
from clipada.research.paper.experiments import ABLATION, MAIN, Experiment
from clipada.research.paper.published import MEAN, PaperDataset, published_rows, source
from clipada.research.paper.results import (
    METRICS,
    SHARED_MEAN,
    CellValue,
    MeasuredMethod,
    TableRow,
    difference,
    measured_rows,
    method_row,
    published_row,
)

TITLES: Mapping[str, str] = {
    "table1": "Table 1: anomaly detection on MVTec AD",
    "table2": "Table 2: anomaly localization on MVTec AD",
    "table3": "Table 3: anomaly detection and localization on VisA",
    "table4": "Table 4: refinement passes R, fixed and learned prompt",
    "table5": "Table 5: tuning CLIP's encoders",
    "table6": "Table 6: trained parameters and speed",
    "figure6": "Figure 6: share of the training images",
    "ablation": "Ablation: refinement passes R and the prompt, over seeds",
}

_SHOWN: Mapping[str, tuple[str, ...]] = {
    "table1": ("image_auroc",),
    "table2": ("pixel_auroc", "pixel_ap"),
    "table4": ("pixel_ap", "pixel_auroc"),
}
"""Metrics of the tables in which the paper does not show all three."""

_BY_CATEGORY = ("table1", "table2", "table3", "table4", "ablation")
"""Tables with a column for each category; the others show only means."""

EXTRAS: Mapping[str, str] = {
    "parameters_millions": "trained parameters, millions",
    "images_per_second": "images/s, batch not reported",
    "images_per_second_batch_1": "images/s, batch 1",
    "images_per_second_best": "images/s, best batch",
    "best_batch": "best batch",
}
"""Titles of further columns, by name."""

UNDEFINED = "–"

Column = tuple[str, str, str]
"""Title, metric, category."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table with published and measured rows.

    Attributes:
        item: Name, e.g. ``"table4"``.
        title: Heading.
        blocks: Parts of the table: a heading (empty for a single part) and the columns.
        rows: Published rows, measured rows, differences.
        notes: Notes for the reader, a sentence each.
    """

    item: str
    title: str
    blocks: tuple[tuple[str, tuple[Column, ...]], ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


def build_table(
    item: str,
    paper: PaperDataset,
    categories: Sequence[str],
    experiments: Sequence[Experiment],
    *,
    methods: Iterable[MeasuredMethod] = (),
    extras: Mapping[str, Mapping[str, float]] | None = None,
    notes: Sequence[str] = (),
) -> PaperTable:
    """Combine published and measured rows.

    Args:
        item: Name of the table or figure.
        paper: The data set as the paper uses it.
        categories: The measured categories.
        experiments: The finished experiments that the item needs.
        methods: Other methods, measured on the same images.
        extras: Further measured numbers by variant and name, see ``EXTRAS``.
        notes: Notes for the reader.
    """
    comparable = set(categories) == set(paper.categories)
    shared = () if comparable else tuple(name for name in paper.categories if name in categories)
    measured = [
        _with_extras(row, (extras or {}).get(row.variant, {}))
        for row in measured_rows(experiments, shared, every_pass=item in ("table4", "ablation"))
    ]
    published = [published_row(row, shared) for row in published_rows("table4" if item == ABLATION else item, MAIN)]
    counterparts = {row.variant: row for row in published if row.variant}
    differences = [
        row
        for one in measured
        if one.variant in counterparts and (row := difference(one, counterparts[one.variant], comparable)).figures
    ]
    rows = (*published, *measured, *(method_row(method, shared) for method in methods), *differences)
    ordered = [name for name in paper.categories if name in categories]
    ordered += [name for name in categories if name not in ordered]
    return PaperTable(
        item=item,
        title=TITLES[item],
        blocks=_blocks(item, ordered, bool(shared), rows),
        rows=rows,
        notes=(*notes, *(_comparison_notes(paper, categories, shared) if published else ())),
    )


def write_table(folder: Path, table: PaperTable) -> tuple[Path, ...]:
    """Write ``table`` to ``folder`` as Markdown, CSV and JSON and return the paths."""
    contents = {"md": markdown(table), "csv": as_csv(table), "json": json.dumps(as_json(table), indent=2) + "\n"}
    paths = {folder / f"{table.item}.{ending}": content for ending, content in contents.items()}
    for path, content in paths.items():
        write_text(path, content)
    return tuple(paths)


def markdown(table: PaperTable) -> str:
    """Format the table as Markdown: a block for each metric, then the notes."""
    parts = [f"## {table.title}\n"]
    for heading, columns in table.blocks:
        heads = ["", "origin", *(head for head, _, _ in columns)]
        lines = [heads, ["---", "---", *["---:"] * len(columns)]]
        shown = [row for row in table.rows if any(_figure(row, column) for column in columns)]
        lines += [[row.label, row.origin, *(_cell(row, column) for column in columns)] for row in shown]
        body = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
        parts.append(f"**{heading}**\n\n{body}" if heading else body)
    parts.append("".join(f"- {note}\n" for note in table.notes))
    return "\n".join(parts)


def as_csv(table: PaperTable) -> str:
    """Format the table as CSV, one number per line, including metrics and categories that the Markdown omits."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "row", "origin", "variant", "metric", "category", "value", "spread", "seeds"])
    for row in table.rows:
        for metric, values in row.figures.items():
            for category, figure in values.items():
                spread = "" if figure.spread is None else f"{figure.spread:.4f}"
                cells = [table.item, row.label, row.origin, row.variant, metric, category]
                writer.writerow([*cells, f"{figure.value:.4f}", spread, row.seeds])
    return file.getvalue()


def as_json(table: PaperTable) -> dict[str, Any]:
    """Convert the table to plain values."""
    return {
        "table": table.item,
        "title": table.title,
        "source of published rows": source(),
        "notes": list(table.notes),
        "rows": [_plain(row) for row in table.rows],
    }


def _plain(row: TableRow) -> dict[str, Any]:
    figures = {
        metric: {category: {"value": one.value, "spread": one.spread} for category, one in values.items()}
        for metric, values in row.figures.items()
    }
    return {
        "row": row.label,
        "origin": row.origin,
        "variant": row.variant,
        "seeds": row.seeds,
        "runs": list(row.runs),
        "figures": figures,
    }


def _blocks(
    item: str, categories: Sequence[str], with_shared: bool, rows: Sequence[TableRow]
) -> tuple[tuple[str, tuple[Column, ...]], ...]:
    means = [*([SHARED_MEAN] if with_shared else []), MEAN]
    shown = _SHOWN.get(item, tuple(METRICS))
    if item in _BY_CATEGORY:
        return tuple((METRICS[one], tuple((head, one, head) for head in (*categories, *means))) for one in shown)
    extras = [name for name in EXTRAS if any(name in row.figures for row in rows)]
    columns = [(METRICS[metric], metric, MEAN) for metric in shown] + [(EXTRAS[name], name, "") for name in extras]
    return (("", tuple(columns)),)


def _with_extras(row: TableRow, extras: Mapping[str, float]) -> TableRow:
    figures = {name: {"": CellValue(value=value)} for name, value in extras.items()}
    return replace(row, figures={**row.figures, **figures})


def _figure(row: TableRow, column: Column) -> CellValue | None:
    _, metric, category = column
    return row.figures.get(metric, {}).get(category)


def _cell(row: TableRow, column: Column) -> str:
    figure = _figure(row, column)
    if figure is None:
        return UNDEFINED
    digits = {"parameters_millions": 2, "best_batch": 0}.get(column[1], 1)
    sign = "+" if row.origin == "difference" else ""
    spread = "" if figure.spread is None else f" ± {figure.spread:.{digits}f}"
    return f"{figure.value:{sign}.{digits}f}{spread}"


def _comparison_notes(paper: PaperDataset, categories: Sequence[str], shared: Sequence[str]) -> list[str]:
    notes = [f"Published rows: {source()}, with CLIP ViT-B/16; none of them were measured here."]
    if set(categories) != set(paper.categories):
        notes.append(
            f"Measured on {len(categories)} categories, {len(shared)} of them among the {len(paper.categories)} of "
            f"{paper.name} in the paper: a mean over all of them has no difference, one over the shared ones has."
        )
    return notes
