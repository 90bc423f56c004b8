"""A group that the calibration does not know is refused: it would get the thresholds of all parts."""

import numpy as np
import pytest

from clipada import Inspector
from clipada.calibration import Calibration, CalibrationImage
from clipada.config import CalibrationConfig, ScoringConfig
from clipada.errors import CalibrationError
from clipada.types import ModelIdentity, Verdict
from stand_in import StandIn, Started, encoded

MODEL = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")
PART = ("part.png", encoded())


def calibration(*groups: str) -> Calibration:
    """A calibration with 40 images of each group, or of no group."""
    scores = np.random.default_rng(0).uniform(0.3, 0.9, 40)
    images = tuple(
        CalibrationImage(sha256=f"{group}{index}", score=float(score), peak=0.5, group=group or None)
        for group in groups or ("",)
        for index, score in enumerate(scores)
    )
    settings = CalibrationConfig(false_alarm_rate=0.2, per="folder" if groups else None)
    return Calibration(
        settings=settings, images=images, model_sha256="a" * 64, engine="torch fp32", created="now", command="test"
    )


@pytest.mark.parametrize(("group", "status"), [("bottle", 200), ("botle", 422), ("Bottle", 422), (None, 200)])
def test_a_misspelled_group_is_refused(started: Started, engine: StandIn, group: str | None, status: int) -> None:
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=MODEL, calibration=calibration("bottle", "nut"))
    client, query = started(models={"line3": inspector}), {} if group is None else {"group": group}
    single = client.post("/v1/inspect", params=query, files={"file": PART})
    batch = client.post("/v1/inspect/batch", params=query, files=[("files", PART)])
    assert (single.status_code, batch.status_code) == (status, status)
    if status == 422:
        assert (single.json()["expected"], single.json()["got"]) == ("bottle, nut", group)
        assert single.json()["remedy"] == "did you mean bottle?"
        assert client.get("/v1/verdicts").json()["verdicts"] == []
    else:
        assert single.json()["group"] == group


def test_without_groups_all_parts_have_the_same_thresholds(started: Started, engine: StandIn) -> None:
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=MODEL, calibration=calibration())
    answer = started(models={"line3": inspector}).post("/v1/inspect", params={"group": "nut"}, files={"file": PART})
    assert (answer.status_code, answer.json()["group"]) == (200, None)


def test_a_group_that_a_new_calibration_lost_spoils_no_other_image(engine: StandIn) -> None:
    """Accepted under one calibration, inspected under the next: that image is refused."""
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=MODEL, calibration=calibration("bottle", "nut"))
    results = inspector.inspect_batch([encoded(), encoded()], ["bottle", "nut"])
    assert [result.group for result in results if isinstance(result, Verdict)] == ["bottle", "nut"]
    inspector.recalibrate(calibration("bottle"))
    kept, refused = inspector.inspect_batch([encoded(), encoded()], ["bottle", "nut"])
    assert isinstance(kept, Verdict)
    assert isinstance(refused, CalibrationError)
    assert (refused.expected, refused.got) == ("bottle", "nut")


def test_the_map_of_a_group_that_was_lost_is_shown(started: Started, engine: StandIn) -> None:
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=MODEL, calibration=calibration("bottle", "nut"))
    client = started(models={"line3": inspector})
    number = client.post("/v1/inspect", params={"group": "nut"}, files={"file": PART}).json()["id"]
    inspector.recalibrate(calibration("bottle"))
    assert client.get(f"/v1/verdicts/{number}/map").status_code == 200
