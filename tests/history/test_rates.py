"""How many were called defective over time: counted in the right minute, hour and day, and only of the right model."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clipada.config import HistoryConfig
from clipada.history.rates import Rate, Step, rates
from clipada.history.store import History
from clipada.types import Verdict
from deliveries import MODEL, verdict
from stand_in import Started, encoded

NOW = datetime(2026, 3, 2, 7, 14, 30, tzinfo=UTC)


def at(time: str, score: float = 0.1, **changes: object) -> Verdict:
    return verdict(score, time=f"{time}.000+00:00", **changes)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of database."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres")  # type: ignore[no-any-return]
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            "minute",
            [
                ("2026-03-02T06:59:00.000+00:00", 1, 1, 0),
                ("2026-03-02T07:14:00.000+00:00", 3, 2, 1),
            ],
        ),
        (
            "hour",
            [
                ("2026-03-01T07:00:00.000+00:00", 1, 1, 1),
                ("2026-03-02T06:00:00.000+00:00", 1, 1, 0),
                ("2026-03-02T07:00:00.000+00:00", 3, 2, 1),
            ],
        ),
        (
            "day",
            [
                ("2026-01-20T00:00:00.000+00:00", 1, 1, 0),
                ("2026-03-01T00:00:00.000+00:00", 1, 1, 1),
                ("2026-03-02T00:00:00.000+00:00", 4, 3, 1),
            ],
        ),
    ],
)
def test_each_part_counts_where_it_was_judged(
    database: str, step: Step, expected: list[tuple[str, int, int, int]]
) -> None:
    other = replace(MODEL, sha256="c" * 64)
    with History(HistoryConfig(database=database)) as history:
        history.store(
            [
                at("2026-03-02T07:14:05", 0.9),
                at("2026-03-02T07:14:06"),
                at("2026-03-02T07:14:07", defective=None),
                at("2026-03-02T07:14:08", model=other),
                at("2026-03-02T06:59:59"),
                at("2026-03-01T07:14:59", 0.9),
                at("2026-01-20T12:00:00"),
                at("2025-12-31T23:59:59", 0.9),  # too long ago for any
            ]
        )
        found = rates(history, step, MODEL.sha256, NOW)
        assert found == [
            Rate(time=time, inspected=inspected, judged=judged, defective=defective)
            for time, inspected, judged, defective in expected
        ]
        assert sum(rate.inspected for rate in rates(history, step, now=NOW)) == 1 + sum(
            rate.inspected for rate in found
        )


def test_the_server_tells_it(started: Started) -> None:
    client = started()
    for seed in range(3):
        client.post("/v1/inspect", files={"file": encoded(seed=seed)})
    content = client.get("/v1/rates?by=day").json()
    assert (content["by"], content["promised"]) == ("day", None)  # no calibration, no promise
    (today,) = content["rates"]
    assert (today["inspected"], today["judged"], today["defective"]) == (3, 0, 0)
    assert client.get("/v1/rates?by=year").status_code == 422
    assert client.get("/v1/rates?model=none").status_code == 404
