"""What a new calibration changes: thresholds, verdicts, groups; and the reasons to refuse it."""

import numpy as np
import pytest

from clipada.calibration import Calibration, CalibrationChange, CalibrationImage
from clipada.calibration.objections import alarms_before, lost_groups, out_of_reach, unreached
from clipada.config import CalibrationConfig


def calibration(
    scores: dict[str | None, list[float]], per: str | None = None, rate: float = 0.2, prefix: str = ""
) -> Calibration:
    """A calibration in marginal mode from the scores of each group's images."""
    images = tuple(
        CalibrationImage(sha256=f"{prefix}{group}{index}", score=score, peak=score, group=group)
        for group, values in scores.items()
        for index, score in enumerate(values)
    )
    settings = CalibrationConfig(false_alarm_rate=rate, mode="marginal", per=per)
    return Calibration(
        settings=settings, images=images, model_sha256="a" * 64, engine="torch fp32", created="now", command="test"
    )


LOW = [0.1, 0.2, 0.3, 0.4]
"""At a rate of 20 %, four images give their highest score as the threshold."""


def test_verdicts_of_the_old_images_are_counted_by_what_they_become() -> None:
    old = calibration({None: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]})
    assert old.pooled.score == 0.8
    change = CalibrationChange(old=old, new=calibration({None: LOW}, prefix="new"))
    assert (change.now_defective, change.now_good) == (4, 0)
    assert change.changed_share == pytest.approx(4 / 9)
    assert change.old_alarms == 0
    back = CalibrationChange(old=change.new, new=old)
    assert (back.now_defective, back.now_good, back.old_alarms) == (0, 0, 5)
    raised = CalibrationChange(old=old, new=calibration({None: [0.9, 0.95, 0.96, 0.99]}, prefix="new"))
    assert (raised.now_defective, raised.now_good) == (0, 1)


def test_the_images_of_a_group_are_judged_by_its_thresholds() -> None:
    old = calibration({"disc": LOW, "plate": [0.5, 0.6, 0.7, 0.8]}, per="product")
    new = calibration({"disc": [0.35, 0.35, 0.35, 0.35], "plate": [0.9] * 4}, per="product", prefix="new")
    change = CalibrationChange(old=old, new=new)
    assert list(change.limits) == [None, "disc", "plate"]
    assert (change.limits["disc"][0].score, change.limits["disc"][1].score) == (0.4, 0.35)
    assert (change.now_defective, change.now_good) == (1, 0)  # disc's 0.4; by the pooled threshold it would pass
    assert change.old_alarms == 4  # plate's


def test_a_group_of_another_rule_is_not_taken_for_one_of_the_same_name() -> None:
    """The old image of folder ``good`` is of no known product: the pooled threshold counts, unless it is new too."""
    old = calibration({"good": LOW}, per="folder")
    new = calibration({"good": [0.05] * 4, "plate": [0.9] * 4}, per="product", prefix="new")
    assert CalibrationChange(old=old, new=new).now_defective == 0
    same = calibration({"good": LOW, "plate": [0.9] * 4}, per="product")
    assert CalibrationChange(old=old, new=same).now_defective == 0
    assert CalibrationChange(old=old, new=same).limits["good"][1].score == 0.4


def test_lost_groups_are_named_with_the_reason() -> None:
    old = calibration({"disc": LOW, "plate": LOW, "nut": [0.5]}, per="product")
    without = CalibrationChange(old=old, new=calibration({None: LOW}))
    assert without.lost_groups == ("disc", "nut", "plate")
    assert "no --per" in lost_groups(without)[0]
    fewer = CalibrationChange(old=old, new=calibration({"disc": LOW, "plate": [0.5], "nut": [0.5]}, per="product"))
    assert fewer.lost_groups == ("plate",)
    assert "plate (1 of the 4 images needed)" in lost_groups(fewer)[0]
    more = CalibrationChange(old=old, new=calibration({"disc": LOW, "plate": LOW, "nut": LOW}, per="product"))
    assert lost_groups(more) == []


def test_good_parts_that_the_present_thresholds_reject_are_an_objection() -> None:
    old = calibration({None: LOW})
    others = CalibrationChange(old=old, new=calibration({None: [0.3, 0.7, 0.8, 0.9]}, prefix="new"))
    assert "3 of the 4" in alarms_before(others, 0.5)[0]
    assert alarms_before(others, 0.75) == []


def test_thresholds_that_synthetic_defects_do_not_reach_are_named() -> None:
    new = calibration({"disc": LOW, "plate": [0.9, 0.95, 0.97, 0.99]}, per="product")
    assert new.pooled.score == new.groups["plate"].score == 0.99
    found = unreached(new, {"disc": np.array([0.5] * 10), "plate": np.array([0.98] * 10)})
    assert len(found) == 2
    assert "no synthetic defect reaches the threshold 0.99" in found[0]
    assert found[1].endswith("of group plate")
    assert unreached(new, {"disc": np.array([0.999] * 10), "plate": np.array([0.999] * 10)}) == []
    assert unreached(new, {}) == []


def test_defects_that_exceed_a_threshold_no_more_often_than_good_parts_do_not_reach_it() -> None:
    new = calibration({None: LOW})  # a fifth of good parts is above
    assert "2 of 10 synthetic defects" in unreached(new, {None: np.array([0.5] * 2 + [0.3] * 8)})[0]
    assert unreached(new, {None: np.array([0.5] * 3 + [0.3] * 7)}) == []


def test_a_threshold_beside_the_end_of_the_scale_is_out_of_reach() -> None:
    new = calibration({"disc": LOW, "plate": [0.99999] * 4}, per="product")
    assert len(out_of_reach(new, 0.999)) == 2
    assert out_of_reach(calibration({None: LOW}), 0.999) == []
