"""Headline of a report: what was found, what was missed, the false alarms and the guarantee."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clipada.report.basis import Basis
from clipada.report.parts import Parts, ScoredPart
from clipada.types.words import counted

Tone = Literal["fine", "alarm", "plain"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a headline.

    Attributes:
        label: What it counts.
        value: The figure.
        note: Of how many, in words.
        tone: Whether it is good news.
    """

    label: str
    value: str
    note: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first that a reader sees.

    Attributes:
        figures: The figures, the most important first.
        sentences: The guarantee, and what limits it.
    """

    figures: tuple[Figure, ...]
    sentences: tuple[str, ...]


def write_headline(parts: Parts, basis: Basis) -> Headline:
    """Write the headline of a report."""
    if all(part.decision in (None, "not_inspectable") for part in parts.scored) and not parts.decided:
        figures = _scored(parts)
    else:
        figures = [*(_labeled(parts) if parts.labeled else _unlabeled(parts)), *_undecided(parts)]
    return Headline(figures=(*figures, *_refused(parts)), sentences=basis.sentences)


def _labeled(parts: Parts) -> list[Figure]:
    outcomes = Counter(part.outcome for part in parts.scored)
    kinds = Counter(part.kind for part in parts.scored)
    figures = []
    if defects := kinds["anomalous"]:
        found, missed = outcomes["found"], outcomes["missed"]
        note = f"of {counted(defects, 'defective part')}, {_percent(found, defects)}"
        figures += [
            Figure(label="found", value=f"{found:,}", note=note, tone="fine" if found else "alarm"),
            Figure(label="missed", value=f"{missed:,}", note=_worst(parts.scored), tone="alarm" if missed else "fine"),
        ]
    if good := kinds["good"]:
        alarms = outcomes["false alarm"]
        note = f"of {counted(good, 'good part')}, {_percent(alarms, good)}"
        figures.append(Figure(label="false alarms", value=f"{alarms:,}", note=note, tone="alarm" if alarms else "fine"))
    return figures


def _worst(parts: Sequence[ScoredPart]) -> str:
    """Name the kind of defect that is missed most often."""
    missed = Counter((part.category, part.defect) for part in parts if part.outcome == "missed")
    if not missed:
        return "no defective part"
    (category, defect), count = missed.most_common(1)[0]
    return f"most often {' '.join(filter(None, (category, defect)))}: {count}"


def _unlabeled(parts: Parts) -> list[Figure]:
    decisions, total = Counter(part.decision for part in parts.scored), len(parts.scored)
    defective, good = decisions["defective"], decisions["good"]
    note = f"of {counted(total, 'image')}"
    return [
        Figure(label="good", value=f"{good:,}", note=f"{note}, {_percent(good, total)}", tone="fine"),
        Figure(
            label="defective",
            value=f"{defective:,}",
            note=f"{note}, {_percent(defective, total)}",
            tone="alarm" if defective else "fine",
        ),
    ]


def _undecided(parts: Parts) -> list[Figure]:
    undecided = sum(part.decision is None for part in parts.scored)
    return (
        [Figure(label="no decision", value=f"{undecided:,}", note="inspected without thresholds")] if undecided else []
    )


def _scored(parts: Parts) -> list[Figure]:
    kinds = Counter(part.kind for part in parts.scored)
    note = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if kind != "inspected")
    return [Figure(label="scored", value=f"{len(parts.scored):,}", note=note or "images, none of them decided on")]


def _refused(parts: Parts) -> list[Figure]:
    refused = sum(part.input_reason is not None for part in parts.scored)
    note = "images that are unlike the training images"
    return [Figure(label="not inspectable", value=f"{refused:,}", note=note, tone="alarm")] if refused else []


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
