"""The server's guarantees: verdicts are stored before they are sent, excess is refused, accepted images are kept."""

import base64
import io
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from clipada import Inspector, calibrate
from clipada.calibration import Calibration, CalibrationImage, read_calibration, write_calibration
from clipada.commands.serve import named_runs
from clipada.config import CalibrationConfig, HistoryConfig, ScoringConfig
from clipada.errors import ConfigError, HistoryError
from clipada.history.store import History
from clipada.images import image_sha256
from clipada.inspection.record import verdict_record
from clipada.runs import CALIBRATION
from clipada.server.schemas import Record
from clipada.server.served_model import display_name
from clipada.types import ModelIdentity
from stand_in import StandIn, Started, encoded
from tiny import save


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def send(client: TestClient, content: bytes | None = None, query: str = "") -> httpx2.Response:
    return client.post(f"/v1/inspect{query}", files={"file": ("part.png", content or encoded())})


def stored(url: str) -> set[int]:
    with History(HistoryConfig(database=url)) as history:
        return {entry.id for entry in history.entries()}


def waiting(client: TestClient) -> int:
    return int(client.get("/v1/status").json()["models"][0]["waiting"])


# --- inspecting


def test_an_answer_is_the_verdict_that_is_stored(started: Started, engine: StandIn, url: str) -> None:
    client, content = started(), encoded(37, 91)
    answer = send(client, content)
    assert answer.status_code == 200, answer.text
    received = answer.json()
    expected = verdict_record(Inspector(engine, ScoringConfig(sigma=1.0)).inspect(content))
    changing = ("time", "latency_ms", "path")
    assert {name: received[name] for name in expected if name not in changing} == {
        name: json.loads(json.dumps(value)) for name, value in expected.items() if name not in changing
    }
    assert received["path"] == "part.png"
    assert received["served_as"] == "line3"
    entry = client.get(f"/v1/verdicts/{received['id']}").json()
    assert entry["record"] == {name: received[name] for name in expected}
    assert entry["image_sha256"] == image_sha256(content)
    assert set(expected) == set(Record.model_fields)  # OpenAPI documents every field


def test_an_image_may_be_the_whole_request(started: Started) -> None:
    client, content = started(), encoded(kind="JPEG")
    raw = client.post("/v1/inspect?name=part-7", content=content, headers={"Content-Type": "image/jpeg"})
    assert raw.json()["score"] == send(client, content).json()["score"]
    assert raw.json()["path"] == "part-7"


def test_a_batch_answers_each_image_in_order(started: Started) -> None:
    client = started()
    contents = [encoded(seed=1), b"no image", encoded(seed=2), encoded(seed=3)[:200]]
    files = [("files", (f"{index}.png", content)) for index, content in enumerate(contents)]
    answer = client.post("/v1/inspect/batch", files=files)
    assert answer.status_code == 200, answer.text
    first, second, third, fourth = answer.json()["results"]
    assert first["score"] == send(client, contents[0]).json()["score"]
    assert third["score"] == send(client, contents[2]).json()["score"]
    assert second["got"] == "another kind of file"
    assert "damaged" in fourth["got"]
    assert client.get("/readyz").status_code == 200


def test_places_are_given_back_whatever_happens(started: Started) -> None:
    """A server whose queue fills with requests that failed would refuse everything in the end."""
    client = started(queue_length=2, batch_images=2)
    for _ in range(4):
        assert send(client, b"no image").status_code == 415
        assert client.post("/v1/inspect", content=b"x").status_code == 415
        assert client.post("/v1/inspect/batch", files=[("files", ("a", b""))] * 2).status_code == 200
        assert send(client).status_code == 200
    assert waiting(client) == 0
    assert client.app.state.service.held_bytes == 0


def test_maps_come_along_when_asked_for(started: Started) -> None:
    client = started()
    values = PIL.Image.open(io.BytesIO(base64.b64decode(send(client, query="?map=values").json()["map_png"])))
    heat = PIL.Image.open(io.BytesIO(base64.b64decode(send(client, query="?map=heat").json()["map_png"])))
    assert (values.size, heat.size, heat.mode) == ((30, 20), (30, 20), "RGBA")
    received = send(client).json()
    assert np.asarray(values).max() / 65535 == pytest.approx(received["map"]["max"], abs=1e-4)
    opacity = np.asarray(heat)[..., 3].astype(int)
    high, low = np.asarray(values) > 40000, np.asarray(values) < 25000
    assert opacity[high].min() > opacity[low].max()


def test_several_models_are_told_apart_by_name(started: Started) -> None:
    models = {"a": Inspector(StandIn(), ScoringConfig(sigma=1.0)), "b": Inspector(StandIn(), ScoringConfig(sigma=8.0))}
    client = started(models=models)
    assert client.get("/v1/models").json() == ["a", "b"]
    assert send(client, query="?model=a").json()["score"] != send(client, query="?model=b").json()["score"]
    for query, status in (("?model=c", 404), ("", 422)):
        answer = send(client, query=query)
        assert answer.status_code == status
        assert "a, b" in answer.json()["expected"]


def test_what_comes_together_is_looked_at_together(started: Started, engine: StandIn) -> None:
    client = started(max_batch=4)
    engine.open.clear()
    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(send, client)]
        until(lambda: client.app.state.service.held_bytes > 0 and waiting(client) == 0)  # the worker holds the first
        answers += [pool.submit(send, client) for _ in range(8)]
        until(lambda: waiting(client) == 8)
        engine.open.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert engine.batches == [1, 4, 4]


def test_a_batch_stays_within_the_pixels(started: Started, engine: StandIn) -> None:
    client = started(max_pixels=1300)  # two of 20 x 30
    engine.open.clear()
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(send, client) for _ in range(6)]
        until(lambda: 6 - waiting(client) >= 1 and waiting(client) >= 4)
        engine.open.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert max(engine.batches) == 2


# --- too much, too slow, and the end


def test_a_full_queue_refuses_and_says_when_to_come_again(started: Started, engine: StandIn, url: str) -> None:
    client = started(queue_length=3, batch_images=3, max_batch=1)
    engine.open.clear()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(send, client)]
        until(lambda: client.app.state.service.held_bytes > 0 and waiting(client) == 0)
        answers += [pool.submit(send, client) for _ in range(3)]
        until(lambda: waiting(client) == 3)
        refused = send(client)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert "queue" in refused.json()["error"]
        engine.open.set()
        numbers = {answer.result().json()["id"] for answer in answers}
    assert len(numbers) == 4
    assert stored(url) == numbers


def test_bytes_that_wait_are_bounded_too(started: Started, engine: StandIn) -> None:
    size = len(encoded()) + 400
    client = started(upload_bytes=size, batch_bytes=size, waiting_bytes=size)
    engine.open.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, client)
        until(lambda: client.app.state.service.held_bytes > 0)
        assert send(client).status_code == 429
        engine.open.set()
        assert first.result().status_code == 200


def test_what_waits_too_long_is_given_up_and_not_stored(started: Started, engine: StandIn, url: str) -> None:
    client = started(answer_seconds=0.3, max_batch=1)
    engine.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, client)
        until(lambda: client.app.state.service.held_bytes > 0 and waiting(client) == 0)
        second = send(client)
        assert second.status_code == 503
        assert "nothing was stored" in second.json()["remedy"]
        engine.open.set()
        assert first.result().status_code == 200  # work on it had begun
    until(lambda: waiting(client) == 0)
    assert stored(url) == {first.result().json()["id"]}


def test_the_end_waits_for_what_was_accepted(started: Started, engine: StandIn, url: str) -> None:
    client = started(max_batch=2)
    engine.open.clear()
    service = client.app.state.service
    batcher = service.models["line3"].batcher
    with ThreadPoolExecutor(7) as pool:
        answers = [pool.submit(send, client) for _ in range(5)]
        until(lambda: service.held_bytes > 0 and waiting(client) >= 3)
        until(lambda: len(batcher._waiting) == waiting(client))
        closing = pool.submit(batcher.close)
        until(lambda: not batcher.ready)
        assert client.get("/readyz").status_code == 503
        assert send(client).status_code == 503
        engine.open.set()
        closing.result()
        numbers = {answer.result().json()["id"] for answer in answers}
    assert len(numbers) == 5
    assert stored(url) == numbers


def test_a_verdict_that_cannot_be_stored_is_not_answered(
    started: Started, monkeypatch: pytest.MonkeyPatch, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = started()

    def full(*_: object) -> list[int]:
        raise HistoryError("the history cannot be used", got="disk full")

    with monkeypatch.context() as patched:
        patched.setattr(client.app.state.service.history, "store", full)
        answer = send(client)
        assert answer.status_code == 503
        assert answer.json()["error"] == "the history cannot be used"
        assert "disk full" not in answer.text  # the reason may name users and hosts: only the log has it
        assert "disk full" in caplog.text
    assert send(client).status_code == 200  # the worker goes on
    assert len(stored(url)) == 1


# --- the history


def test_pages_filters_and_words(started: Started) -> None:
    client = started()
    numbers = [send(client).json()["id"] for _ in range(5)]
    page = client.get("/v1/verdicts?limit=2").json()
    assert [one["id"] for one in page["verdicts"]] == numbers[:2:-1]
    rest = client.get(f"/v1/verdicts?limit=3&before={page['next_before']}").json()
    assert [one["id"] for one in rest["verdicts"]] == numbers[2::-1]
    word = {"confirmed": False, "reason": "only dust"}
    assert client.post(f"/v1/verdicts/{numbers[1]}/feedback", json=word).json()["reason"] == "only dust"
    (rejected,) = client.get("/v1/verdicts?word=rejected").json()["verdicts"]
    assert rejected["id"] == numbers[1]
    unjudged = client.get("/v1/verdicts", params={"word": "none", "since": rejected["time"]}).json()["verdicts"]
    assert [one["id"] for one in unjudged] == numbers[:1:-1]
    assert client.get("/v1/verdicts?until=yesterday").status_code == 422
    assert client.get("/v1/verdicts?defective=true").json() == {"verdicts": [], "next_before": None}
    assert client.post("/v1/verdicts/99/feedback", json=word).status_code == 404


def test_kept_images_come_back(started: Started, tmp_path: Path) -> None:
    client, content = started(), encoded(kind="TIFF")
    number = send(client, content).json()["id"]
    (kept,) = (tmp_path / "kept").rglob("*.*")
    assert kept.read_bytes() == content  # as it came, under its kind's own ending
    assert kept.suffix == ".tif"
    shown = client.get(f"/v1/verdicts/{number}/image")
    assert shown.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(PIL.Image.open(io.BytesIO(shown.content)), PIL.Image.open(io.BytesIO(content)))
    kept.unlink()
    assert client.get(f"/v1/verdicts/{number}/image").status_code == 404


# --- a real run


@pytest.fixture
def calibrated(run_folder: Path, tmp_path: Path) -> Path:
    """A run with a calibration on twelve parts."""
    rng = np.random.default_rng(1)
    for index in range(12):
        pixels = np.clip(rng.integers(60, 200) + rng.normal(0, 12, (40, 48, 3)), 0, 255)
        save(tmp_path / "parts" / f"{index:03}.png", pixels.astype(np.uint8))
    calibrate(run_folder, tmp_path / "parts", CalibrationConfig(false_alarm_rate=0.2, confidence=0.8), device="cpu")
    return run_folder


def test_a_real_run_with_its_calibration(started: Started, calibrated: Path, tmp_path: Path) -> None:
    inspector = Inspector.load(calibrated, device="cpu")
    client = started(models={"line3": inspector})
    content = (tmp_path / "parts" / "003.png").read_bytes()
    received = send(client, content).json()
    expected = inspector.inspect(content)
    assert received["score"] == pytest.approx(expected.score, abs=1e-6)
    assert (received["defective"], received["calibration"]) == (expected.defective, inspector.calibration.id)
    about = client.get("/v1/models/line3").json()
    assert about["card"].startswith("# line3")
    assert about["calibration"]["pooled"]["thresholds"]["score"] == received["score_threshold"]
    curve = about["calibration"]["pooled"]["curve"]
    assert [point["rate_bound"] for point in curve] == sorted(point["rate_bound"] for point in curve)
    rank = about["calibration"]["pooled"]["thresholds"]["rank"]
    assert curve[rank - 1]["threshold"] == received["score_threshold"]
    assert curve[rank - 1]["rate_bound"] <= 0.2
    shown = client.get(f"/v1/verdicts/{received['id']}/map?kind=values")
    assert np.asarray(PIL.Image.open(io.BytesIO(shown.content))).max() / 65535 == pytest.approx(
        received["map"]["max"], abs=1e-4
    )
    assert len(client.get("/v1/verdicts").json()["verdicts"]) == 1  # showing its map stores nothing
    until(lambda: drift_of(client)["parts"] == 1)
    assert drift_of(client)["drifting"] is False
    metrics = client.get("/metrics").text
    result = "defective" if expected.defective else "good"
    assert f'clipada_images_total{{model="line3",result="{result}"}} 1.0' in metrics
    assert 'clipada_drift{group="",model="line3"} 0.0' in metrics


def test_a_new_calibration_counts_without_a_restart(started: Started, calibrated: Path, tmp_path: Path) -> None:
    client = started(models={"line3": Inspector.load(calibrated, device="cpu")})
    content = (tmp_path / "parts" / "003.png").read_bytes()
    before = send(client, content).json()
    path = calibrated / CALIBRATION
    whole = path.read_text()

    path.write_text(whole[: len(whole) // 2])
    assert send(client, content).json()["calibration"] == before["calibration"]

    path.unlink()
    assert send(client, content).json()["calibration"] == before["calibration"]

    path.write_text(whole)
    old = read_calibration(path)
    new = old.with_guarantee(CalibrationConfig(false_alarm_rate=0.5, confidence=0.8))
    write_calibration(path, new)
    os.utime(path, ns=(1, 1))  # a clock that went back is no reason to miss it
    after = send(client, content).json()
    assert (after["calibration"], after["score_threshold"]) == (new.id, new.pooled.score)
    assert after["threshold"] == new.pooled.pixel
    until(lambda: client.get("/v1/models/line3").json()["calibration"]["id"] == new.id)


def test_thresholds_of_another_engine_have_no_guarantee(started: Started, calibrated: Path) -> None:
    path = calibrated / CALIBRATION
    write_calibration(path, replace(read_calibration(path), engine="onnx int8"))
    client = started(models={"line3": Inspector.load(calibrated, device="cpu")})
    caveat = client.get("/v1/models/line3").json()["calibration"]["caveat"]
    assert (
        "calibrated with engine onnx int8, inspecting with torch fp32: the false-alarm rate is not guaranteed" in caveat
    )
    assert client.get("/v1/rates").json()["promised"] is None


# --- drift


def bright_calibration() -> Calibration:
    """As if made from parts that are brighter than those of the test."""
    scores = np.random.default_rng(0).uniform(0.3, 0.9, 200)
    images = tuple(
        CalibrationImage(sha256=f"{index:064}", score=float(score), peak=0.5) for index, score in enumerate(scores)
    )
    settings = CalibrationConfig(false_alarm_rate=0.05)
    return Calibration(
        settings=settings, images=images, model_sha256="a" * 64, engine="torch fp32", created="now", command="test"
    )


def drift_of(client: TestClient) -> dict[str, object]:
    """What the server says of it; nothing before a part was seen."""
    received = client.get("/v1/status").json()["models"][0]["drift"]
    return received[0] if received else {"parts": 0}


def test_drift_is_warned_of_and_goes_on_over_restarts(
    started: Started, engine: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")

    def start() -> TestClient:
        inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=model, calibration=bright_calibration())
        return started(models={"line3": inspector})

    def send_dark(client: TestClient) -> None:
        files = [("files", (f"{index}.png", encoded(seed=index, below=60))) for index in range(12)]
        assert client.post("/v1/inspect/batch", files=files).status_code == 200

    first = start()
    send_dark(first)
    until(lambda: drift_of(first)["parts"] == 12)
    assert not drift_of(first)["drifting"]
    second = start()  # of the same database
    send_dark(second)
    until(lambda: drift_of(second)["parts"] == 24)
    assert drift_of(second)["drifting"]
    assert "scores are lower" in str(drift_of(second)["description"])
    assert "model line3: drift: since part" in caplog.text
    assert 'clipada_drift{group="",model="line3"} 1.0' in second.get("/metrics").text


def test_without_its_database_a_server_watches_no_drift_until_it_is_back(
    started: Started, engine: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=model, calibration=bright_calibration())
    client = started(models={"line3": inspector})

    def away(*_: object) -> object:
        raise HistoryError("the history cannot be used", got="connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(client.app.state.service.history, "transaction", away)
        until(lambda: "cannot be watched for drift at present" in caplog.text)
        assert send(client).status_code == 503
    assert send(client).status_code == 200
    until(lambda: drift_of(client)["parts"] == 1)


# --- names


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("part.png", "part.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\parts\\7.png", "7.png"),
        ("a\x00b\n.png", "ab.png"),
        ("", None),
        (None, None),
        ("..", None),
        ("x" * 999, "x" * 255),
    ],
)
def test_names_lead_nowhere(sent: str | None, shown: str | None) -> None:
    assert display_name(sent) == shown


def test_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "line3").mkdir()
    (tmp_path / "lr=1").mkdir()
    assert named_runs([f"{tmp_path}/line3", f"b={tmp_path}/line3"]) == {
        "line3": tmp_path / "line3",
        "b": tmp_path / "line3",
    }
    assert named_runs([f"b={tmp_path}/lr=1"]) == {"b": tmp_path / "lr=1"}
    for runs, message in (
        ([f"{tmp_path}/line3", f"{tmp_path}/line3/"], "two models"),
        ([f"a/b={tmp_path}"], "cannot name"),
        ([f"{tmp_path}/lr=1"], "cannot name"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_runs(runs)
