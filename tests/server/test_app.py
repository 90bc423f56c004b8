"""The server's guarantees: verdicts are stored before they are sent, excess is refused, accepted images are kept."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from callers import send, until, waiting
from clipada import Inspector
from clipada.commands.serve import named_runs
from clipada.config import ScoringConfig
from clipada.errors import ConfigError
from clipada.images import image_sha256
from clipada.inspection.record import verdict_record
from clipada.server.schemas import Record
from clipada.server.served_model import display_name
from stand_in import StandIn, Started, encoded

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
