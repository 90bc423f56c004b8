"""CSV beside a report: one row for each part."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from clipada.errors import ClipAdaError
from clipada.files import write_text
from clipada.inspection.csv_export import write_csv
from clipada.inspection.record import DISTRIBUTIONS
from clipada.report.parts import ScoredPart

_SHARES = {name: distribution.symbol for name, distribution in DISTRIBUTIONS.items() if name != "score"}

LISTING_COLUMNS = (
    *("path", "category", "defect", "decision", "outcome", "score", "score_threshold"),
    *_SHARES,
    *("regions", "input_reason", "calibration", "image_sha256", "time"),
)
"""Columns of the CSV."""


def listing_path(page: Path) -> Path:
    """Return the CSV's place beside a page: ``report.csv``, or with the page's name before it.

    Raises:
        ClipAdaError: The page itself is to have this name.
    """
    path = page.with_name("report.csv" if page.stem == "report" else f"{page.stem}-report.csv")
    if path == page:
        remedy = "name the page `report.html`, or a folder"
        raise ClipAdaError(
            "the page has the name of the CSV beside it", expected="another name", got=str(page), remedy=remedy
        )
    return path


def write_listing(path: Path, parts: Iterable[ScoredPart]) -> None:
    """Write one row for each part, in their order; the file is written atomically."""
    file = StringIO(newline="")
    write_csv(file, LISTING_COLUMNS, map(_row, parts))
    write_text(path, file.getvalue())


def _row(part: ScoredPart) -> list[object]:
    """Return the cells of a part; unknown ones are ``None``, which is an empty cell."""
    path = None if part.path is None else str(part.path)
    decided = [path, part.category, part.defect, part.decision, part.outcome, part.score, part.score_threshold]
    shares = [part.shares.get(symbol) for symbol in _SHARES.values()]
    return [*decided, *shares, part.regions, part.input_reason, part.calibration, part.image_sha256, part.time]
