"""CSV files of verdicts, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from typing import IO

_FORMULA = frozenset("=+-@\u2212")
"""First characters of a formula, the minus sign of typography included."""


def write_csv(file: IO[str], header: Sequence[str], rows: Iterable[Iterable[object]]) -> int:
    """Write a header and rows as CSV; return the number of rows.

    Text is untrusted: text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    writer = csv.writer(file)
    writer.writerow(header)
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007
        writer.writerow([_cell(value) for value in row])
    return count


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    """Return True for text that begins like a formula, in ASCII or full width, after any blanks or control characters.

    A leading tab, carriage return or line feed counts too: some spreadsheets drop it, or split the cell there.
    """
    if text.startswith(("\t", "\r", "\n")):
        return True
    first = next((one for one in text if unicodedata.category(one)[0] not in "ZC"), "")
    return unicodedata.normalize("NFKC", first)[:1] in _FORMULA
