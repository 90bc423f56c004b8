"""Callers of a server, and what it has stored."""

import json
import time
from collections.abc import Callable

import httpx2
from starlette.testclient import TestClient

from clipada.config import HistoryConfig
from clipada.history.store import History
from stand_in import encoded


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


FORM = {"file": ("part.png", encoded())}


def refused(answer: httpx2.Response, status: int, *texts: str) -> None:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error", "expected", "got", "remedy"}
    for text in texts:
        assert text in json.dumps(content), content
