"""Too many images, images that wait too long, and the end of a server."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from callers import send, stored, until, waiting
from clipada.errors import HistoryError
from stand_in import StandIn, Started, encoded


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
