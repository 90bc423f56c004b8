"""Chapters of a report, one for each category: findings on its scores, and its most informative parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clipada.report.cases import Cases, Inspect, choose_cases, with_pictures
from clipada.report.histogram import Histogram, histogram
from clipada.report.parts import Kind, ScoredPart
from clipada.types import Failure

KINDS: tuple[Kind, ...] = ("good", "anomalous", "inspected")

ImageThreshold = Callable[[Path], float | None]
"""Returns the image score above which the image of a path is defective; ``None`` without a threshold."""

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


def write_chapters(
    parts: Sequence[ScoredPart], inspect: Inspect, image_threshold: ImageThreshold
) -> tuple[Chapter, ...]:
    """Write one chapter for each category, in the order of the parts."""
    names = dict.fromkeys(part.category for part in parts)
    return tuple(
        _chapter(name, [part for part in parts if part.category == name], inspect, image_threshold) for name in names
    )


def _chapter(name: str, parts: Sequence[ScoredPart], inspect: Inspect, image_threshold: ImageThreshold) -> Chapter:
    cases, failures = with_pictures(choose_cases(parts), inspect)
    limits = [image_threshold(part.path) if part.path and part.defect else part.score_threshold for part in parts]
    scores = {kind: [part.score for part in parts if part.kind == kind and part.counts] for kind in KINDS}
    return Chapter(
        name=name,
        findings=(
            *_refused(parts),
            *_ranges(scores),
            *_order(scores),
            *_regions([part for part in parts if part.counts]),
            *_decisions(parts, limits),
        ),
        histogram=histogram(scores, [limit for limit in limits if limit is not None]),
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


def _ranges(scores: _Scores) -> list[str]:
    """State number and range of each kind."""
    return [
        f"{len(values)} {kind}: scores {min(values):#.3g} to {max(values):#.3g}, median {median(values):#.3g}."
        for kind, values in scores.items()
        if values
    ]


def _order(scores: _Scores) -> list[str]:
    """Count the anomalous parts that score no higher than the highest good part."""
    good, anomalous = scores["good"], scores["anomalous"]
    if not (good and anomalous):
        return []
    hidden = sum(score <= max(good) for score in anomalous)
    return [f"{hidden} of {len(anomalous)} anomalous parts score no higher than the highest good part."]


def _regions(parts: Sequence[ScoredPart]) -> list[str]:
    """Count the parts with a region, where regions are known."""
    counts = [part.regions for part in parts if part.regions is not None]
    if not counts:
        return []
    return [f"{sum(map(bool, counts))} of {len(counts)} have a region above the threshold of the map."]


def _decisions(parts: Sequence[ScoredPart], limits: Sequence[float | None]) -> list[str]:
    """Count the parts of each kind with a score above their threshold."""
    judged = ((part, limit) for part, limit in zip(parts, limits, strict=True) if part.counts)
    decided = [(part, part.score > limit) for part, limit in judged if limit is not None]
    counts = {kind: [above for part, above in decided if part.kind == kind] for kind in KINDS}
    return [
        f"{sum(hits)} of {len(hits)} {kind} parts score above the threshold." for kind, hits in counts.items() if hits
    ]
