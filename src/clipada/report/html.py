"""The report: one self-contained HTML file, for a browser, a phone or a printer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from clipada.config import setting_names
from clipada.errors import RunError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.files import write_text
from clipada.inspection.overlays import heat_colors
from clipada.report.card import LIMITS, run_summary
from clipada.report.cases import Inspect
from clipada.report.chapters import ImageThreshold, write_chapters
from clipada.report.parts import Parts
from clipada.report.tables import COLUMNS, metrics_rows
from clipada.runs import METRICS, Run, load_calibration
from clipada.types import Failure

TEMPLATE = "report.html"

PROTOCOL = ("data", "engine", "image_size", "masks", "aupro_fpr_limit", "mean")
"""Entries of an evaluation's protocol that are shown below its table."""

_PAGES = Environment(
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
        path: The file.
        parts: Number of parts in it.
        failures: Chosen parts whose image or mask can no longer be read.
    """

    path: Path
    parts: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class MetricsTable:
    """Metrics in percent.

    Attributes:
        title: The maps they are of.
        rows: Cells of each category's row, then of the mean's.
    """

    title: str
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


def write_report(
    out: Path,
    run: Run,
    parts: Parts,
    inspect: Inspect,
    *,
    command: str,
    image_threshold: ImageThreshold = lambda _: None,
) -> Report:
    """Write one HTML file that needs no other file, no network and no script.

    Args:
        out: The file, written atomically.
        run: The run that scored the parts; its metrics are shown if the parts are those of its evaluation.
        parts: The result of ``read_scores`` or ``read_verdicts``.
        inspect: Inspects the parts that are shown.
        command: The command line of this report, shown in it.
        image_threshold: Returns the image score above which a test image is defective; verdicts have their own.

    Raises:
        RunError: The run's metrics are damaged, or its maps are not finite.
    """
    evaluation = _evaluation(run) if parts.labeled else None
    chapters = write_chapters(parts.scored, inspect, image_threshold)
    failures = tuple(failure for chapter in chapters for failure in chapter.failures)
    page = _PAGES.get_template(TEMPLATE).render(
        title=run.folder.resolve().name,
        heading=_heading(run, parts, evaluation, command),
        columns=COLUMNS,
        evaluation=evaluation,
        chapters=chapters,
        names=_names(parts),
        heat=["#{:02x}{:02x}{:02x}".format(*color) for color in heat_colors(np.linspace(0, 1, 10))],
        notes=evaluation.notes if evaluation else (),
        left_out=[*parts.left_out, *(_in_a_line(failure) for failure in failures)],
        facts=_facts(run, parts),
        settings={name: run.config.value(name) for name in setting_names()},
        limits=LIMITS,
    )
    write_text(out, page)
    return Report(path=out, parts=len(parts.scored), failures=failures)


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


def _facts(run: Run, parts: Parts) -> dict[str, str]:
    """Describe the model and the calibration of its verdicts."""
    facts = {name: value for name, value in run_summary(run).items() if name not in ("run", "mean metrics")}
    if not parts.labeled:
        facts |= _basis(run, parts)
    return facts


def _basis(run: Run, parts: Parts) -> dict[str, str]:
    """Name the calibration of the verdicts, if it is not the run's present one or its guarantee does not hold."""
    present, _ = load_calibration(run)
    calibrations = {part.calibration for part in parts.scored}
    if calibrations == {None}:
        return {"calibration": "none: the parts have no decision"}
    if present is None or calibrations != {present.id}:
        named = ", ".join(sorted(one or "none" for one in calibrations))
        return {
            "calibration": f"the parts were inspected with {named}, not the run's present one; no guarantee is shown"
        }
    engines = sorted({part.engine for part in parts.scored if part.engine})
    caveats = "; ".join(filter(None, map(present.caveat, engines)))
    return {"calibration": caveats} if caveats else {}


def _evaluation(run: Run) -> Evaluated | None:
    """Return the content of ``metrics.json`` for display; raise ``RunError`` if it is damaged."""
    if (metrics := run.metrics) is None:
        return None
    passes = metrics.get("passes", [])
    try:
        return Evaluated(
            table=_table("Metrics in percent", metrics),
            passes=tuple(_table(f"Pass {index}", content) for index, content in enumerate(passes)),
            protocol={name: metrics["protocol"][name] for name in PROTOCOL},
            notes=tuple(metrics["protocol"].get("notes", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        what, remedy = f"{run.folder / METRICS} is damaged", "run `clipada evaluate` again"
        raise RunError(what, got=repr(error), remedy=remedy) from error


def _table(title: str, content: dict[str, Any]) -> MetricsTable:
    categories = {name: CategoryMetrics(**values) for name, values in content["categories"].items()}
    rows = metrics_rows(categories, CategoryMetrics(**content["mean"]))
    return MetricsTable(title=title, rows=tuple(map(tuple, rows)))


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
