"""Chapters of a report, one for each category: findings on its scores, and its most informative parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from clipada.report.cases import Cases, Inspect, choose_cases, with_pictures
from clipada.report.histogram import Histogram, histogram
from clipada.report.parts import Kind, ScoredPart
from clipada.types import Failure

KINDS: tuple[Kind, ...] = ("good", "anomalous", "inspected")

_Scores = Mapping[Kind, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One category, or all parts that were inspected.

    Attributes:
        name: The category; empty if it is unknown.
        findings: Findings on its scores, a sentence each.
        histogram: Histogram of its scores.
        cases: Its most informative parts.
        failures: Parts among these whose image or mask can no longer be read.
    """

    name: str
    findings: tuple[str, ...]
    histogram: Histogram
    cases: tuple[Cases, ...]
    failures: tuple[Failure, ...]


def write_chapters(parts: Sequence[ScoredPart], inspect: Inspect) -> tuple[Chapter, ...]:
    """Write one chapter for each category, in the order of the parts."""
    names = dict.fromkeys(part.category for part in parts)
    return tuple(_chapter(name, [part for part in parts if part.category == name], inspect) for name in names)


def _chapter(name: str, parts: Sequence[ScoredPart], inspect: Inspect) -> Chapter:
    cases, failures = with_pictures(choose_cases(parts), inspect)
    limits = [part.score_threshold for part in parts if part.score_threshold is not None]
    scores = {kind: [part.score for part in parts if part.kind == kind and part.counts] for kind in KINDS}
    return Chapter(
        name=name,
        findings=(
            *_refused(parts),
            *_ranges(scores),
            *_order(scores),
            *_regions([part for part in parts if part.counts]),
        ),
        histogram=histogram(scores, limits),
        cases=cases,
        failures=failures,
    )


def _refused(parts: Sequence[ScoredPart]) -> list[str]:
    """Count the images that are not inspectable, by the first words of their reasons."""
    reasons = Counter(part.input_reason.partition(":")[0] for part in parts if part.input_reason is not None)
    if not reasons:
        return []
    words = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return [f"{reasons.total()} of {len(parts)} images are not inspectable: {words}."]


_CALLED: Mapping[Kind, str] = {"anomalous": "defective"}
"""Words for kinds of parts, where the field's term is another."""


def _ranges(scores: _Scores) -> list[str]:
    """State number and range of each kind."""
    return [
        f"{len(values)} {word}: scores {min(values):#.3g} to {max(values):#.3g}, median {median(values):#.3g}."
        for kind, values in scores.items()
        for word in [_CALLED.get(kind, kind)]
        if values
    ]


def _order(scores: _Scores) -> list[str]:
    """Count the defective parts that score no higher than the highest good part."""
    good, anomalous = scores["good"], scores["anomalous"]
    if not (good and anomalous):
        return []
    hidden = sum(score <= max(good) for score in anomalous)
    return [f"{hidden} of {len(anomalous)} defective parts score no higher than the highest good part."]


def _regions(parts: Sequence[ScoredPart]) -> list[str]:
    """Count the parts with a region, where regions are known."""
    counts = [part.regions for part in parts if part.regions is not None]
    if not counts:
        return []
    return [f"{sum(map(bool, counts))} of {len(counts)} have a region above the threshold of the map."]
