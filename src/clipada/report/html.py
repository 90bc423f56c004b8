"""The report: one self-contained HTML file, for a browser, a phone or a printer, and a CSV beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from clipada.calibration import Calibration
from clipada.config import setting_names
from clipada.files import write_text
from clipada.inspection.overlays import heat_colors
from clipada.report.basis import find_basis
from clipada.report.card import LIMITS, run_summary
from clipada.report.cases import Inspect
from clipada.report.chapters import write_chapters
from clipada.report.decisions import ALARMS, decision_table
from clipada.report.evaluated import Evaluated, read_evaluation
from clipada.report.guarantee import CALIBRATION_COLUMNS, calibration_rows
from clipada.report.headline import Headline, write_headline
from clipada.report.listing import listing_path, write_listing
from clipada.report.parts import Parts, ScoredPart
from clipada.runs import Run
from clipada.types import Failure

TEMPLATE = "report.html"

LISTED = 500
"""Number of parts that a report lists by name; the CSV has all of them."""

ImageThreshold = Callable[[Path], float | None]
"""Returns the image score above which the image of a path is defective; ``None`` without a threshold."""

PAGES = Environment(
    loader=PackageLoader("clipada.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A written report.

    Attributes:
        path: The page.
        listing: The CSV beside it, one row for each part.
        headline: What was found, missed and guaranteed.
        parts: Number of parts in it.
        failures: Chosen parts whose image or mask can no longer be read.
    """

    path: Path
    listing: Path
    headline: Headline
    parts: int
    failures: tuple[Failure, ...]


def write_report(
    out: Path,
    run: Run,
    parts: Parts,
    inspect: Inspect,
    *,
    command: str,
    image_threshold: ImageThreshold = lambda _: None,
) -> Report:
    """Write one HTML file that needs no other file, no network and no script, and a CSV beside it.

    Args:
        out: The page, written atomically.
        run: The run that scored the parts; its metrics are shown if the parts are those of its evaluation.
        parts: The result of ``read_scores`` or ``read_verdicts``.
        inspect: Inspects the parts that are shown.
        command: The command line of this report, shown in it.
        image_threshold: Returns the image score above which a test image is defective; verdicts have their own.

    Raises:
        RunError: The run's metrics are damaged, or its maps are not finite.
        ClipAdaError: The page has the name of the CSV.
    """
    listing = listing_path(out)
    evaluation = read_evaluation(run) if parts.labeled else None
    parts = replace(parts, scored=tuple(_with_threshold(part, image_threshold) for part in parts.scored))
    chapters = write_chapters(parts.scored, inspect)
    failures = tuple(failure for chapter in chapters for failure in chapter.failures)
    basis = find_basis(run, parts, evaluation.protocol["engine"] if evaluation else None)
    headline = write_headline(parts, basis)
    page = PAGES.get_template(TEMPLATE).render(
        title=run.folder.resolve().name,
        headline=headline,
        heading=_heading(run, parts, evaluation, command),
        evaluation=evaluation,
        chapters=chapters,
        names=_names(parts),
        heat=["#{:02x}{:02x}{:02x}".format(*color) for color in heat_colors(np.linspace(0, 1, 10))],
        notes=evaluation.notes if evaluation else (),
        left_out=[*parts.left_out, *(_in_a_line(failure) for failure in failures)],
        listing=listing.name,
        limits=LIMITS,
        **_decided(parts, basis.calibration),
        **_model(run),
    )
    write_listing(listing, parts.scored)
    write_text(out, page)
    return Report(path=out, listing=listing, headline=headline, parts=len(parts.scored), failures=failures)


def _with_threshold(part: ScoredPart, image_threshold: ImageThreshold) -> ScoredPart:
    """Return a labeled part with the threshold of its image; a verdict's part has its own."""
    if part.defect is None or part.path is None:
        return part
    return replace(part, score_threshold=image_threshold(part.path))


def _heading(run: Run, parts: Parts, evaluation: Evaluated | None, command: str) -> dict[str, str]:
    """Return run, data, date and command of the report."""
    folder = _folder(parts)
    data = evaluation.protocol["data"] if evaluation else folder.name if folder else "images without files"
    left_out = f", {len(parts.left_out):,} left out" if parts.left_out else ""
    return {
        "run": str(run.folder),
        "backbone": run.backbone_label,
        "data": f"{data}, {len(parts.scored):,} images{left_out}",
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "command": command,
    }


def _decided(parts: Parts, calibration: Calibration | None) -> dict[str, Any]:
    """Return decisions and thresholds for the page."""
    return {
        "decisions": decision_table(parts),
        "alarms": ALARMS,
        "calibration": calibration,
        "calibration_columns": CALIBRATION_COLUMNS,
        "calibration_rows": [] if calibration is None else calibration_rows(calibration),
        **_listed(parts),
    }


def _listed(parts: Parts) -> dict[str, Any]:
    """Return the parts that are listed by name: wrong decisions on labeled ones, all others; and their number."""
    wrong = [part for part in parts.scored if part.outcome in ("missed", "false alarm")]
    chosen = wrong if parts.labeled else [part for part in parts.scored if part.path]
    order = {"defective": 0, "not_inspectable": 1, None: 2, "good": 3}
    ranked = sorted(chosen, key=lambda part: (order[part.decision], -part.score))
    return {"listed": ranked[:LISTED], "listed_of": len(ranked)}


def _model(run: Run) -> dict[str, Any]:
    """Return the description of the model for the page."""
    shown_elsewhere = ("run", "mean metrics", "calibration")
    return {
        "facts": {name: value for name, value in run_summary(run).items() if name not in shown_elsewhere},
        "settings": {name: run.config.value(name) for name in setting_names()},
    }


def _folder(parts: Parts) -> Path | None:
    """Return the innermost folder that contains all parts with a file."""
    folders = {part.path.absolute().parent for part in parts.scored if part.path}
    return Path(os.path.commonpath(folders)) if folders else None


def _names(parts: Parts) -> dict[Path, str]:
    """Return each part's name in the report: its path below the common folder."""
    shared, paths = _folder(parts), (part.path for part in parts.scored)
    return {path: str(path.absolute().relative_to(shared)) for path in paths if path and shared}


def _in_a_line(failure: Failure) -> str:
    return "; ".join(line.strip() for line in str(failure.error).splitlines())
