"""Tables that fit the terminal: names wrap between words, the least important columns are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from clipada.calibration import CalibrationChange
    from clipada.evaluation.kinds import KindCount
    from clipada.evaluation.metrics import CategoryMetrics

GAP = 2
"""Blanks between two columns."""

LONGEST_PIECE = 16
"""Width of a piece of a name that is kept whole while other columns can be left out instead."""

_PIECE = re.compile(r".+?(?:[-_/.\s]+|$)", re.DOTALL)
"""Part of a name up to the sign that it may be wrapped after."""

Cell = str | Text


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table.

    Attributes:
        head: Its heading.
        name: True for names or words, on the left, which may be wrapped; False for numbers, on the right.
        spare: Columns with a higher number are left out first where the terminal is narrow; those with 0 never.
    """

    head: str
    name: bool = False
    spare: int = 0

    @property
    def heading(self) -> str:
        """The heading; above numbers, which are short, a word on each line."""
        return self.head if self.name else "\n".join(self.head.split())

    def least(self, texts: Sequence[str]) -> int:
        """Return the width that it keeps while others can be left out."""
        return max(cell_len(text) if not self.name else min(_longest_piece(text), LONGEST_PIECE) for text in texts)


def print_table(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, title: str = "", total: bool = False
) -> None:
    """Print a table that is no wider than the console.

    Args:
        console: Its destination.
        columns: The columns.
        rows: The cells of each row.
        title: The line above it, if any.
        total: True if the last row is the total of the others.
    """
    widths = fitted_widths(columns, rows, console.width)
    shown = [index for index, width in enumerate(widths) if width]
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    if title:
        console.print(Text(title, style="bold"))
    for index in shown:
        justify = "left" if columns[index].name else "right"
        head = columns[index].heading
        table.add_column(head, justify=justify, width=widths[index], no_wrap=True, vertical="top")  # type: ignore[arg-type]
    for number, row in enumerate(rows, start=1):
        last = total and number == len(rows)
        cells = [_fitted(row[index], widths[index]) if columns[index].name else row[index] for index in shown]
        table.add_row(*cells, style="bold" if last else None, end_section=total and number == len(rows) - 1)
    console.print(table)
    if lacking := ", ".join(column.head for column, width in zip(columns, widths, strict=True) if not width):
        console.print(f"left out of {console.width} columns: {lacking}", style="dim")


def fitted_widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the width of each column of a table that is at most ``width`` wide; 0 for one that is left out."""
    texts = [[*column.heading.split("\n"), *(str(row[index]) for row in rows)] for index, column in enumerate(columns)]
    widths = [max(map(cell_len, own)) for own in texts]
    least = [column.least(own) for column, own in zip(columns, texts, strict=True)]
    for index in sorted(range(len(columns)), key=lambda index: -columns[index].spare):
        if _total(least) > width and columns[index].spare:
            least[index] = widths[index] = 0
    for floors in (least, [min(own, 1) for own in least]):
        names = [index for index, column in enumerate(columns) if column.name]
        while _total(widths) > width and (wide := [index for index in names if widths[index] > floors[index]]):
            widths[max(wide, key=lambda index: widths[index])] -= 1
    return widths


def wrapped_name(name: str, width: int) -> list[str]:
    """Return a name in lines of at most ``width``, broken after ``_ - / .`` and blanks.

    A piece that is too long on its own keeps its beginning and its end.
    """
    lines = [""]
    for piece in _PIECE.findall(name):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [shortened(line.rstrip(), width) for line in lines]


def shortened(name: str, width: int) -> str:
    """Return a name of at most ``width``, with an ellipsis in its middle if it is longer."""
    if cell_len(name) <= width:
        return name
    if width < 3:
        return set_cell_size(name, width)
    end = (width - 1) // 2
    return set_cell_size(name, width - 1 - end).rstrip() + "…" + chop_cells(name[::-1], end)[0][::-1]


def short_path(path: str, width: int) -> str:
    """Return the end of a path of at most ``width``, cut between folders where that is possible."""
    if cell_len(path) <= width:
        return path
    ends = accumulate(reversed(path.split("/")), lambda end, folder: f"{folder}/{end}")
    fitting = [end for end in ends if cell_len(end) + 2 <= width]
    return f"…/{fitting[-1]}" if fitting else shortened(path.rpartition("/")[2], width)


def _longest_piece(name: str) -> int:
    return max((cell_len(piece.rstrip()) for piece in _PIECE.findall(name)), default=0)


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)


def _fitted(cell: Cell, width: int) -> Text:
    """Return a cell whose name is wrapped."""
    style = cell.style if isinstance(cell, Text) else ""
    return Text("\n".join(wrapped_name(str(cell), width)), style=style)


def print_metrics_table(console: Console, categories: dict[str, CategoryMetrics], title: str) -> None:
    """Print metrics in percent: a row for each category and their mean, "–" where undefined."""
    from clipada.evaluation.metrics import mean_metrics
    from clipada.report.tables import metric_columns, metrics_rows

    spare = {"P-F1": 7, "I-F1": 6, "I-AP": 5, "AUPRO": 4, "P-mAP": 3, "normal": 2, "anomalous": 1}
    columns = [Column(head="category", name=True)]
    columns += [Column(head=head, spare=spare.get(head, 0)) for head in metric_columns(categories.values())]
    rows = list(metrics_rows(categories, mean_metrics(categories.values())))
    print_table(console, columns, rows, title=title, total=True)


def print_kinds_table(console: Console, kinds: Sequence[KindCount], title: str) -> None:
    """Print found and missed defects by product and kind, false alarms among good parts, and the totals."""
    columns = [Column(head="product", name=True), Column(head="kind", name=True)]
    columns += [
        Column(head="images", spare=1),
        Column(head="found"),
        Column(head="missed"),
        Column(head="false alarms"),
    ]
    refused = any(kind.not_inspectable for kind in kinds)
    if refused:
        columns.append(Column(head="not inspectable", spare=2))
    defects, good = [kind for kind in kinds if not kind.is_good], [kind for kind in kinds if kind.is_good]
    rows: list[list[Cell]] = [[kind.category, kind.kind, *_counts([kind])] for kind in kinds]
    rows.append(["all", "", *_counts([*defects, *good])])
    print_table(console, columns, [row[: len(columns)] for row in rows], title=title, total=True)


def _counts(kinds: Sequence[KindCount]) -> list[Cell]:
    """Return the cells of some kinds: images, found, missed, false alarms, not inspectable; bad news in red."""
    defects, good = any(not kind.is_good for kind in kinds), any(kind.is_good for kind in kinds)
    found = str(sum(kind.found for kind in kinds)) if defects else "–"
    missed = _alarming(sum(kind.missed for kind in kinds)) if defects else "–"
    alarms = _alarming(sum(kind.false_alarms for kind in kinds)) if good else "–"
    refused = str(sum(kind.not_inspectable for kind in kinds))
    return [str(sum(kind.images for kind in kinds)), found, missed, alarms, refused]


def _alarming(count: int) -> Text:
    return Text(str(count), style="red" if count else "")


def print_change_table(console: Console, change: CalibrationChange) -> None:
    """Print old and new thresholds: of all images, then of each group."""
    columns = [Column(head="thresholds of", name=True)]
    columns += [Column(head=head) for head in ("score old", "new")]
    columns += [Column(head=head, spare=2) for head in ("map old", "new")]
    columns += [Column(head=head, spare=1) for head in ("images old", "new")]
    rows: list[list[Cell]] = []
    for name, (old, new) in change.limits.items():
        numbers = (old.score, new.score, old.pixel, new.pixel)
        counts = (str(old.images), str(new.images))
        rows.append(["all images" if name is None else name, *(f"{number:.6g}" for number in numbers), *counts])
    print_table(console, columns, rows)
