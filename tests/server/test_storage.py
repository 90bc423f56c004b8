"""A database that is away, full or removed: the server is not ready, and callers learn nothing about the database."""

import logging
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from clipada.errors import HistoryError
from clipada.history import database as database_module
from clipada.history.store import History
from clipada.server import storage
from stand_in import Started, encoded

TOKEN = "correct-horse-battery-staple"
FORM = {"file": ("part.png", encoded())}
PLACES = ("operator", "10.1.2.3", "plant-database", "s3cr3t", "history.db", "/")


def break_database(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every use of the database fail with an error that names all that callers must not see."""

    def fail(*_: object, **__: object) -> object:
        raise HistoryError(
            "the history in postgresql+psycopg://operator@10.1.2.3/plant-database cannot be used",
            got="s3cr3t /srv/history.db",
        )

    for name in ("transaction", "store", "check_writable", "entries", "find"):
        monkeypatch.setattr(client.app.state.service.history, name, fail)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the storage at each request."""
    monkeypatch.setattr(storage, "CHECK_SECONDS", 0.0)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_callers_learn_nothing_about_the_database(
    started: Started, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, token: str | None
) -> None:
    client = started(token=token)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    break_database(client, monkeypatch)
    answers = [client.get("/readyz")]
    answers += [
        client.get(path, headers=headers) for path in ("/v1/verdicts", "/v1/verdicts/1", "/v1/verdicts/1/image")
    ]
    answers += [client.get("/v1/rates", headers=headers), client.post("/v1/inspect", files=FORM, headers=headers)]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["error"] == "the history cannot be used"
        assert not any(place in answer.text for place in PLACES)
    batch = client.post("/v1/inspect/batch", files=[("files", FORM["file"])] * 2, headers=headers)
    assert [one["error"] for one in batch.json()["results"]] == ["the history cannot be used"] * 2
    assert not any(place in batch.text for place in PLACES)
    assert "plant-database" in caplog.text


def test_names_of_models_need_the_token(started: Started) -> None:
    client = started(token=TOKEN, host="0.0.0.0")
    client.app.state.service.models["line3"].batcher.close()  # type: ignore[attr-defined]
    for path in ("/readyz", "/healthz"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "line3" not in answer.text


def test_a_server_is_not_ready_while_its_disk_is_full(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    client = started()
    database = client.app.state.service.history._database  # type: ignore[attr-defined]

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("pragma max_page_count = 1")  # SQLite takes the present number of pages

    monkeypatch.setattr(database_module, "PROBE_BYTES", 1_000_000)  # more than the free pages of the file
    database._engine.dispose()
    event.listen(database._engine, "connect", limit)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    event.remove(database._engine, "connect", limit)
    database._engine.dispose()
    assert client.get("/readyz").status_code == 200


def test_a_server_is_not_ready_without_its_database_file(started: Started, tmp_path: Path) -> None:
    client = started()
    (tmp_path / "history.db").unlink()
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/inspect", files=FORM).status_code == 503  # an answer would not be stored
    assert not (tmp_path / "history.db").exists()


def test_a_server_is_not_ready_while_images_cannot_be_kept(started: Started, tmp_path: Path) -> None:
    client = started()
    (tmp_path / "kept").rename(tmp_path / "away")
    (tmp_path / "kept").touch()
    assert client.get("/readyz").status_code == 503
    answer = client.post("/v1/inspect", files=FORM)
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text


def test_results_are_reused_for_a_while(
    started: Started, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, checks = started(), []
    monkeypatch.setattr(client.app.state.service.history, "check_writable", lambda: checks.append(1))  # type: ignore[attr-defined]
    monkeypatch.setattr(storage, "CHECK_SECONDS", 3600.0)
    with caplog.at_level(logging.ERROR):
        assert {client.get("/readyz").status_code for _ in range(5)} == {200}
    assert len(checks) <= 1
    monkeypatch.setattr(storage, "CHECK_SECONDS", 0.0)
    assert {client.get("/readyz").status_code for _ in range(5)} == {200}
    assert len(checks) >= 5


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+01:00"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_times_at_the_edge_of_the_calendar_are_refused(started: Started, name: str, time: str) -> None:
    client = started()
    answer = client.get("/v1/verdicts", params={name: time})
    assert answer.status_code == 422
    assert "years 1 to 9999" in answer.json()["expected"]
    for usable in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"):
        assert client.get("/v1/verdicts", params={name: usable}).status_code == 200


@pytest.mark.parametrize(
    "time", ["0.5", "1e9", "1700000000", "yesterday", "12:00", "", "-1", "P1D", "nan", "2026-13-01T00:00:00Z"]
)
def test_only_dates_are_times(started: Started, time: str) -> None:
    client = started()
    for name in ("since", "until"):
        assert client.get("/v1/verdicts", params={name: time}).status_code == 422
    for usable in (
        "2026-03-02T07:14:05.120Z",
        "2026-03-02T07:14:05+01:00",
        "2026-03-02T07:14",
        "2026-03-02",
        "2026-03-02 07:14:05",
    ):
        assert client.get("/v1/verdicts", params={"since": usable}).status_code == 200, usable


def test_a_verdict_that_was_not_stored_ends_readiness_at_once(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = started()
    monkeypatch.setattr(storage, "CHECK_SECONDS", 3600.0)
    assert client.get("/readyz").status_code == 200
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise HistoryError("the history cannot be used", got="database or disk is full")

        patched.setattr(client.app.state.service.history, "store", fail)  # type: ignore[attr-defined]
        assert client.post("/v1/inspect", files=FORM).status_code == 503
    assert client.get("/readyz").status_code == 503
    monkeypatch.setattr(storage, "CHECK_SECONDS", 0.0)
    assert client.get("/readyz").status_code == 200


def test_a_store_that_failed_keeps_no_image(started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = started()
    history: History = client.app.state.service.history  # type: ignore[attr-defined]

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "/srv/history.db")

    event.listen(history._database._engine, "commit", fail)
    answer = client.post("/v1/inspect", files=FORM)
    assert answer.status_code == 503
    assert "/srv" not in answer.text
    assert list((tmp_path / "kept").rglob("*.*")) == []
