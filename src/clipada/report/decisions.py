"""Table of the decisions by product and, where parts are labeled, by kind of defect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipada.evaluation.kinds import KindCount, count_kinds
from clipada.report.parts import Parts, ScoredPart

REFUSED = "not inspectable"
LABELED = ("images", "found", "missed", "found, %", "false alarms")
UNLABELED = ("images", "defective", "good", "defective, %")

ALARMS = ("missed", "false alarms", REFUSED)
"""Columns whose figures are bad news unless they are 0."""

NOT_APPLICABLE = "–"

UNKNOWN = "unknown"
"""Kind of parts without a label."""


@dataclass(frozen=True, kw_only=True)
class DecisionGroup:
    """Rows of a table of decisions.

    Attributes:
        title: The product; empty for rows that name their product themselves.
        threshold: Its threshold of the score, in words.
        rows: Name and cells of each row.
    """

    title: str = ""
    threshold: str = ""
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DecisionTable:
    """Decisions on all parts.

    Attributes:
        columns: The columns after the first one.
        groups: The rows, by product where parts are labeled.
        total: The last row.
    """

    columns: tuple[str, ...]
    groups: tuple[DecisionGroup, ...]
    total: tuple[str, ...]


def decision_table(parts: Parts) -> DecisionTable | None:
    """Return the table of the decisions; ``None`` if there are parts without one."""
    if not parts.decided:
        return None
    named = ((part.category, part.defect or UNKNOWN, part.decision) for part in parts.scored)
    counts = count_kinds((category, kind, decision) for category, kind, decision in named if decision is not None)
    products: dict[str, list[ScoredPart]] = {}
    for part in parts.scored:
        products.setdefault(part.category, []).append(part)
    return _labeled(counts, products) if parts.labeled else _unlabeled(counts, products)


def _labeled(counts: Sequence[KindCount], products: Mapping[str, Sequence[ScoredPart]]) -> DecisionTable:
    """Return a row for each kind of each product."""
    refused = _refused(counts)
    return DecisionTable(
        columns=(*LABELED, *refused),
        groups=tuple(
            DecisionGroup(
                title=name,
                threshold=f"defective above {_threshold(members)}",
                rows=tuple(_kind_row(count, refused) for count in counts if count.category == name),
            )
            for name, members in products.items()
        ),
        total=("all", *_labeled_cells(counts, refused)),
    )


def _unlabeled(counts: Sequence[KindCount], products: Mapping[str, Sequence[ScoredPart]]) -> DecisionTable:
    """Return a row for each product, or none if there is only one."""
    refused = _refused(counts)
    rows = [
        (count.category or "others", *_unlabeled_cells([count], refused), _threshold(products[count.category]))
        for count in counts
    ]
    everything = _threshold([part for members in products.values() for part in members])
    return DecisionTable(
        columns=(*UNLABELED, *refused, "threshold"),
        groups=(DecisionGroup(rows=tuple(rows)),) if len(rows) > 1 else (),
        total=("all", *_unlabeled_cells(counts, refused), everything),
    )


def _refused(counts: Iterable[KindCount]) -> tuple[str, ...]:
    """Return the column of images that are not inspectable, if there are any."""
    return (REFUSED,) if any(count.not_inspectable for count in counts) else ()


def _threshold(parts: Iterable[ScoredPart]) -> str:
    """State the threshold that decided on parts, or how many different ones did."""
    values = {part.score_threshold for part in parts if part.score_threshold is not None}
    if not values:
        return NOT_APPLICABLE
    return f"{min(values):.4g}" if len(values) == 1 else f"{min(values):.4g} to {max(values):.4g}"


def _kind_row(count: KindCount, refused: Sequence[str]) -> tuple[str, ...]:
    return ("good parts" if count.is_good else count.kind, *_labeled_cells([count], refused))


def _labeled_cells(counts: Sequence[KindCount], refused: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of labeled parts, as ``LABELED``."""
    defects, good = ([count for count in counts if count.is_good == is_good] for is_good in (False, True))
    found, images = sum(count.found for count in defects), sum(count.images for count in defects)
    missed = sum(count.missed for count in defects)
    return (
        *_images(counts),
        *((f"{found:,}", f"{missed:,}", f"{100 * found / images:.1f}") if defects else (NOT_APPLICABLE,) * 3),
        f"{sum(count.false_alarms for count in good):,}" if good else NOT_APPLICABLE,
        *_not_inspectable(counts, refused),
    )


def _unlabeled_cells(counts: Sequence[KindCount], refused: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of parts without a label, as ``UNLABELED``."""
    defective, images = sum(count.defective for count in counts), sum(count.images for count in counts)
    good = images - defective - sum(count.not_inspectable for count in counts)
    cells = (f"{defective:,}", f"{good:,}", f"{100 * defective / images:.1f}")
    return (*_images(counts), *cells, *_not_inspectable(counts, refused))


def _images(counts: Iterable[KindCount]) -> tuple[str]:
    return (f"{sum(count.images for count in counts):,}",)


def _not_inspectable(counts: Iterable[KindCount], refused: Sequence[str]) -> tuple[str, ...]:
    """Return the cell of the column of images that are not inspectable, if there is one."""
    return tuple(f"{sum(count.not_inspectable for count in counts):,}" for _ in refused)
