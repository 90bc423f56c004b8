"""Counts of a stress test: rates, the worst row, and which perturbations a fix must learn."""

import pytest

from clipada.inspection.stress_counts import StressCount, StressRow, StressTest


def row(kind: str | None, strength: float, alarms: int, images: int = 40, refused: int = 0) -> StressRow:
    good = StressCount(images=images, defective=alarms, not_inspectable=refused)
    return StressRow(kind=kind, strength=strength, good=good)  # type: ignore[arg-type]


ROWS = (
    row(None, 0, 1),
    row("shift", 1, 4),
    row("shift", 8, 20),
    row("dust", 8, 12),
    row("dust", 32, 1, refused=39),
    row("darker", 40, 0, refused=40),
    row("blur", 2, 40),
)
TEST = StressTest(rows=ROWS, false_alarm_rate=0.05, confidence=0.95)


def test_only_what_alarms_beyond_chance_is_to_be_fixed() -> None:
    assert TEST.harmful() == {"shift": (8,), "dust": (8,), "blur": (2,)}


def test_the_worst_row_is_not_a_single_part_among_refused_ones() -> None:
    assert TEST.worst.label == "blur 2 px"
    some = StressTest(rows=ROWS[:-1], false_alarm_rate=0.05, confidence=0.95)
    assert some.worst.label == "shift 8 px"


def test_rows_come_by_the_share_of_parts_that_do_not_pass() -> None:
    labels = [one.label for one in TEST.worst_first]
    assert labels == ["blur 2 px", "dust 32 specks", "darker 40 %", "shift 8 px", "dust 8 specks", "shift 1 px", "none"]


def test_refused_parts_are_no_false_alarms() -> None:
    assert row("darker", 40, 0, refused=40).good.rate is None
    assert row("dust", 32, 1, refused=39).good.rate == 1
    assert row("dust", 32, 3, refused=30).good.interval(0.95) == pytest.approx((0.0667, 0.6525), abs=1e-3)
