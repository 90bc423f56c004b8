"""Verdicts on standard output as a table, JSON lines or CSV while they are made, and their tally."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.text import Text

from clipada.cli.tables import GAP, Cell, Column, print_table, short_path
from clipada.cli.terminal import console, out_console, print_line, say

if TYPE_CHECKING:
    from clipada.inspection.record import Record

Format = Literal["table", "jsonl", "csv"]

STYLES = {"good": "green", "defective": "bold red", "not inspectable": "yellow", "left out": "yellow"}
"""Colors of verdicts."""

LONGEST_PART = 60
"""Width of the column of parts in a wide terminal."""

_WIDTHS = {"verdict": 15, "score": 6, "threshold": 9, "p-value": 7, "regions": 7}
_LEAST_PART = 22


@dataclass
class ProductCounts:
    """Numbers of images of one product by verdict."""

    good: int = 0
    defective: int = 0
    not_inspectable: int = 0
    unreadable: int = 0
    undecided: int = 0

    @property
    def inspected(self) -> int:
        """Number of images with a verdict."""
        return self.good + self.defective + self.not_inspectable + self.undecided

    def add(self, record: Record) -> None:
        """Count a record."""
        if "error" in record:
            self.unreadable += 1
        elif record["decision"] == "not_inspectable":
            self.not_inspectable += 1
        elif record["decision"] is None:
            self.undecided += 1
        elif record["defective"]:
            self.defective += 1
        else:
            self.good += 1


@dataclass
class Counts(ProductCounts):
    """Numbers of images by verdict, in all and by product.

    Attributes:
        categories: The products that the run was trained on: folders of these names name the product of an image.
        products: The tally of each product; that of images of no known product has an empty name.
    """

    categories: Collection[str] = ()
    products: dict[str, ProductCounts] = field(default_factory=dict)
    calibrated: bool = False

    def add(self, record: Record) -> None:
        """Count a record."""
        super().add(record)
        self.products.setdefault(self._product(record), ProductCounts()).add(record)
        self.calibrated = self.calibrated or record.get("calibration") is not None

    def _product(self, record: Record) -> str:
        """Return the group whose threshold was applied, else the product that the path names."""
        from clipada.calibration import PRODUCT, group_of

        path = record["path"]
        named = None if path is None else group_of(Path(path), PRODUCT)
        return record.get("group") or (named if named in self.categories else None) or ""

    def __str__(self) -> str:
        found = f", {self.defective} defective" if self.calibrated else ""
        refused = f", not inspectable {self.not_inspectable}" if self.not_inspectable else ""
        return f"inspected {self.inspected} images{found}, left out {self.unreadable}{refused}"


def print_record(record: Record, counts: Counts) -> None:
    """Print a record as a JSON line on standard output, count it, and name a file that says nothing on a part."""
    print_line(json.dumps(record))
    count_record(record, counts)


def count_record(record: Record, counts: Counts) -> None:
    """Count a record; name a file that says nothing on a part on standard error."""
    counts.add(record)
    if "error" in record:
        say(f"left out: {record['error']}", style="yellow")
    elif record["decision"] == "not_inspectable":
        say(f"not inspectable: {record['path']}: {record['input_reason']}", style="yellow")


def print_tally(counts: Counts) -> None:
    """Print the numbers of good and defective parts of each product on standard error, if there are several."""
    if len(counts.products) < 2 or not counts.calibrated:
        return
    names = {"good": "good", "defective": "defective", "not inspectable": "not_inspectable", "left out": "unreadable"}
    shown = {head: name for head, name in names.items() if head in ("good", "defective") or getattr(counts, name)}
    columns = [Column(head="product", name=True), *(Column(head=head) for head in ("images", *shown))]
    rows: list[list[Cell]] = []
    for product, tally in (*sorted(counts.products.items(), key=lambda item: (not item[0], item[0])), ("all", counts)):
        values = [getattr(tally, name) for name in shown.values()]
        styles = [STYLES[head] if value else "" for head, value in zip(shown, values, strict=True)]
        cells = [Text(str(value), style=style) for value, style in zip(values, styles, strict=True)]
        rows.append([product or "others", str(tally.inspected + tally.unreadable), *cells])
    print_table(console, columns, rows, total=True)


def print_verdicts(records: Iterable[Record], form: Format, images: Sequence[Path]) -> None:
    """Print each record on standard output as soon as it comes.

    Args:
        records: The records.
        form: The format.
        images: The files and folders they are of, below which parts are named in a table.
    """
    if form == "csv":
        _print_csv(records)
        return
    table = _VerdictTable(images) if form == "table" else None
    for record in records:
        print_line(json.dumps(record) if table is None else table.row(record))


def _print_csv(records: Iterable[Record]) -> None:
    """Print a header and a row for each record: every field with a single value, and the number of regions."""
    from clipada.inspection.csv_export import write_csv
    from clipada.inspection.record import FIELDS

    names = [field.name for field in FIELDS if field.kind not in (dict, list)]

    def row(record: Record) -> list[object]:
        regions = len(record["regions"]) if "regions" in record else None
        error = " ".join(record["error"].split()) if "error" in record else None
        return [*(record.get(name) for name in names), regions, error]

    write_csv(_Lines(), [*names, "regions", "error"], map(row, records))


class _Lines(io.StringIO):
    """Text stream whose lines are printed, above a bar if there is one."""

    def write(self, text: str, /) -> int:
        """Print a line, and keep nothing."""
        print_line(text.rstrip("\r\n"))
        return len(text)


class _VerdictTable:
    """Rows of a table whose columns are as wide as the terminal allows, since later rows are not known yet.

    Args:
        images: The inspected files and folders; parts are named below the folder that all share.
    """

    def __init__(self, images: Sequence[Path]) -> None:
        folders = [path if path.is_dir() else path.parent for path in images]
        self._shared = os.path.commonpath([folder.absolute() for folder in folders])
        self._widths = dict(_WIDTHS)
        for name in ("regions", "p-value"):
            if self._part_width() < _LEAST_PART:
                del self._widths[name]
        self._part = max(4, min(self._part_width(), LONGEST_PART))
        print_line(self._line("part", {name: Text(name) for name in self._widths}, "bold"))

    def _part_width(self) -> int:
        return out_console.width - sum(width + GAP for width in self._widths.values())

    def row(self, record: Record) -> Text:
        """Return the row of a record."""
        verdict = "left out" if "error" in record else (record["decision"] or "–").replace("_", " ")
        cells = {"verdict": Text(verdict, style=STYLES.get(verdict, "dim"))}
        if "error" not in record:
            values = {"score": record["score"], "threshold": record["score_threshold"], "p-value": record["p_value"]}
            cells |= {name: Text("–" if value is None else f"{value:.4f}") for name, value in values.items()}
            cells["regions"] = Text(str(len(record["regions"])))
        return self._line(self._name(record["path"]), cells)

    def _name(self, path: str) -> str:
        return os.path.relpath(Path(path).absolute(), self._shared)

    def _line(self, part: str, cells: dict[str, Text], style: str = "") -> Text:
        name = short_path(part, self._part)
        line = Text(name + " " * (self._part - cell_len(name)), style=style)
        for column, width in self._widths.items():
            cell = cells.get(column, Text())
            padding = " " * (width - cell_len(cell.plain))
            line.append(" " * GAP)
            line.append(cell if column == "verdict" else Text(padding))
            line.append(Text(padding) if column == "verdict" else cell)
        line.rstrip()
        return line
