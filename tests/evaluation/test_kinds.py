"""Counts of found and missed defects, by kind."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from clipada.evaluation.kinds import count_kinds, decide
from clipada.types import Decision

DECISIONS: tuple[Decision, ...] = ("good", "defective", "not_inspectable")
IMAGES = st.lists(
    st.tuples(
        st.sampled_from(["disc", "plate"]), st.sampled_from(["good", "crack", "dent"]), st.sampled_from(DECISIONS)
    )
)


def test_a_score_at_the_threshold_is_good_and_an_image_that_is_not_inspectable_is_neither() -> None:
    assert decide(0.5, 0.5) == "good"
    assert decide(0.51, 0.5) == "defective"
    assert decide(0.9, None) is None
    assert decide(0.9, 0.5, "dark") == "not_inspectable"


@given(IMAGES)
def test_each_image_is_counted_once(images: Iterable[tuple[str, str, Decision]]) -> None:
    counts = count_kinds(images)
    assert sum(count.images for count in counts) == len(list(images))
    assert len({(count.category, count.kind) for count in counts}) == len(counts)
    for count in counts:
        of_kind = [made for category, kind, made in images if (category, kind) == (count.category, count.kind)]
        is_good = count.kind == "good"
        assert count.images == len(of_kind)
        assert count.found == (0 if is_good else of_kind.count("defective"))
        assert count.missed == (0 if is_good else of_kind.count("good"))
        assert count.false_alarms == (of_kind.count("defective") if is_good else 0)
        assert count.not_inspectable == of_kind.count("not_inspectable")


def test_products_and_kinds_are_in_order_and_good_parts_last() -> None:
    images: list[tuple[str, str, Decision]] = [
        ("disc", "good", "good"),
        ("disc", "dent", "defective"),
        ("cap", "crack", "good"),
        ("disc", "crack", "good"),
    ]
    assert [(one.category, one.kind) for one in count_kinds(images)] == [
        ("disc", "dent"),
        ("disc", "crack"),
        ("disc", "good"),
        ("cap", "crack"),
    ]
