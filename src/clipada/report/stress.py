"""Files of a stress test: JSON, CSV, a picture, and one self-contained page."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

from clipada.config import PerturbationKind
from clipada.config.stress import UNITS
from clipada.files import write_json, write_text
from clipada.inspection.stress_counts import StressCount, StressRow, StressTest
from clipada.report.headline import Figure
from clipada.report.html import PAGES
from clipada.runs import Run

FORMAT = 1

COLUMNS = ("false alarms", "rate", "interval", "not inspectable", "defects found")
"""Columns of the table of perturbations."""

COLUMNS_BEFORE = (
    "alarms before",
    "false alarms",
    "rate",
    "interval",
    "not inspectable",
    "found before",
    "defects found",
)
"""Columns of the table of a run that was trained to raise fewer false alarms than one before."""


@dataclass(frozen=True, kw_only=True)
class StressFacts:
    """Circumstances of a stress test.

    Attributes:
        run: The run; ``None`` for an engine without one.
        calibration: Id of the calibration.
        engine: Engine and precision.
        command: The command line that made it.
    """

    run: Run | None
    calibration: str
    engine: str
    command: str

    @property
    def label(self) -> str:
        """Name of the run."""
        return "" if self.run is None else self.run.label


def write_stress(folder: Path, test: StressTest, facts: StressFacts, before: StressTest | None = None) -> None:
    """Write ``stress.json``, ``stress.csv``, ``stress.svg`` and ``stress.html``, each as a whole; the page last.

    Args:
        folder: The folder to write into.
        test: The result.
        facts: Its circumstances.
        before: The result of an earlier run on the same images, beside which it is shown.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "stress.json", _record(test, facts, created, before))
    write_text(folder / "stress.csv", _listing(test))
    given: dict[str, Any] = {"test": test, "facts": facts, "panels": _panels(test, before), "created": created}
    columns = COLUMNS if before is None else COLUMNS_BEFORE
    given |= {"columns": columns, "rows": list(stress_rows(test, before)), "figures": _figures(test)}
    for name in ("stress.svg", "stress.html"):
        write_text(folder / name, PAGES.get_template(name).render(**given))


def _figures(test: StressTest) -> list[Figure]:
    """Return the figures at the top of the page."""
    worst, plain, allowed = test.worst, test.plain, f"{100 * test.false_alarm_rate:g} % allowed"
    raised = sum(test.raised(row) for row in test.rows)
    figures = [
        Figure(label="As they are", value=_alarm_share(plain.good), note=f"of good parts alarm; {allowed}"),
        Figure(
            label="Worst",
            value=_alarm_share(worst.good),
            note=f"of good parts alarm: {worst.label}",
            tone="alarm" if test.raised(worst) else "fine",
        ),
        Figure(
            label="Too many alarms",
            value=str(raised),
            note=f"of {len(test.rows)} conditions, beyond chance",
            tone="alarm" if raised else "fine",
        ),
    ]
    if plain.defects.images:
        least = min(test.rows, key=lambda row: row.defects.defective)
        note = f"synthetic defects found: {least.label}; {found_cell(plain)} as they are"
        figures.append(Figure(label="Fewest defects", value=found_cell(least), note=note))
    return figures


def _alarm_share(count: StressCount) -> str:
    return "–" if count.rate is None else f"{100 * count.rate:.0f} %"


def stress_rows(test: StressTest, before: StressTest | None = None) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each perturbation: its name, then ``COLUMNS``, or ``COLUMNS_BEFORE`` if there is one before.

    Worst first, as it was before.
    """
    now = {row.label: row for row in test.rows}
    for earlier in (before or test).worst_first:
        row = now.get(earlier.label, earlier)
        alarms, refused = _alarm_cells(row.good, test.confidence), str(row.good.not_inspectable)
        if before is None:
            yield (row.label, *alarms, refused, found_cell(row))
        else:
            first, *_ = _alarm_cells(earlier.good, test.confidence)
            yield (row.label, first, *alarms, refused, found_cell(earlier), found_cell(row))


def found_cell(row: StressRow) -> str:
    """Write the number of defects that are found."""
    return f"{row.defects.defective} of {row.defects.images}" if row.defects.images else "–"


def _alarm_cells(count: StressCount, confidence: float) -> tuple[str, str, str]:
    if count.rate is None:
        return "0 of 0", "–", "–"
    low, high = count.interval(confidence)
    interval = f"{100 * low:.0f} to {100 * high:.0f} %"
    return f"{count.defective} of {count.decided}", f"{100 * count.rate:.0f} %", interval


def _record(test: StressTest, facts: StressFacts, created: str, before: StressTest | None) -> dict[str, Any]:
    """Return the content of ``stress.json``."""
    earlier = {} if before is None else {"before": _rows(before)}
    return {
        "format": FORMAT,
        "run": facts.label,
        "model_sha256": None if facts.run is None else facts.run.model_sha256,
        "calibration": facts.calibration,
        "engine": facts.engine,
        "created": created,
        "command": facts.command,
        "false_alarm_rate": test.false_alarm_rate,
        "confidence": test.confidence,
        "left_out": [str(failure.path) for failure in test.failures],
        "perturbations": _rows(test),
        **earlier,
    }


def _rows(test: StressTest) -> list[dict[str, Any]]:
    return [
        {
            **_named(row),
            **_counts(row.good, row.defects, test.confidence),
            "groups": {name: _good(count, test.confidence) for name, count in sorted(row.groups.items())},
        }
        for row in test.rows
    ]


def _named(row: StressRow) -> dict[str, Any]:
    return {"perturbation": row.kind or "none", "strength": row.strength}


def _good(count: StressCount, confidence: float) -> dict[str, Any]:
    """Return the figures of good parts: those decided, false alarms, their rate with its interval, and refusals."""
    low, high = count.interval(confidence) if count.decided else (None, None)
    return {
        "decided": count.decided,
        "false_alarms": count.defective,
        "rate": count.rate,
        "low": low,
        "high": high,
        "not_inspectable": count.not_inspectable,
    }


def _counts(good: StressCount, defects: StressCount, confidence: float) -> dict[str, Any]:
    """Return the figures of good parts and of defects; a defect that is not inspectable is not found."""
    return {
        **_good(good, confidence),
        "defects": defects.images,
        "defects_found": defects.defective,
        "defects_not_inspectable": defects.not_inspectable,
    }


def _listing(test: StressTest) -> str:
    """Return the content of ``stress.csv``: a line for each perturbation, and each group of several."""
    lines: list[dict[str, Any]] = []
    for row in test.rows:
        lines.append({"group": "", **_named(row), **_counts(row.good, row.defects, test.confidence)})
        groups = sorted(row.groups.items()) if len(row.groups) > 1 else ()
        lines += [{"group": name, **_named(row), **_good(count, test.confidence)} for name, count in groups]
    text = StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class StressPanel:
    """Curves of one kind of perturbation over its strengths.

    Attributes:
        title: The kind, in words.
        ticks: The strengths.
        alarms: Place of each strength, 0..1, and the false-alarm rate there with its interval, 0..1.
        found: Place of each strength, and the share of the defects that are found.
        before: Place of each strength, and the false-alarm rate of an earlier run.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]
    alarms: tuple[tuple[float, float, float, float], ...]
    found: tuple[tuple[float, float], ...]
    before: tuple[tuple[float, float], ...]


def _panels(test: StressTest, before: StressTest | None) -> list[StressPanel]:
    """Return a panel for each kind; each begins with the photos as they are."""
    earlier = {} if before is None else {row.label: row.good.rate for row in before.rows}
    kinds = groupby(test.rows[1:], key=lambda row: row.kind)
    return [_panel(kind, [test.plain, *rows], test.confidence, earlier) for kind, rows in kinds if kind is not None]


def _panel(
    kind: PerturbationKind, rows: list[StressRow], confidence: float, earlier: Mapping[str, float | None]
) -> StressPanel:
    places = [(place + 0.5) / len(rows) for place in range(len(rows))]
    placed = list(zip(places, rows, strict=True))
    return StressPanel(
        title=", ".join(filter(None, UNITS[kind])),
        ticks=tuple((place, "none" if row.kind is None else f"{row.strength:g}") for place, row in placed),
        alarms=tuple(
            (place, row.good.rate, *row.good.interval(confidence)) for place, row in placed if row.good.rate is not None
        ),
        found=tuple((place, row.defects.defective / row.defects.images) for place, row in placed if row.defects.images),
        before=tuple((place, rate) for place, row in placed if (rate := earlier.get(row.label)) is not None),
    )
