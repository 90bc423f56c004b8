"""`clipada serve` as a process, told to stop or killed under load: what it acknowledged is in the database."""

import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from clipada.config import HistoryConfig
from clipada.history.store import History
from deliveries import Receiver, eventually
from processes import ready, serving
from stand_in import encoded


def acknowledged(server: subprocess.Popen[str], address: str, send_signal: int, callers: int = 8) -> set[int]:
    """The numbers that callers were told before and after the signal, until the server is gone."""
    told: list[int] = []
    contents = [encoded(40, 48, seed) for seed in range(callers)]

    def call(content: bytes) -> None:
        with httpx2.Client(base_url=address, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/v1/inspect", files={"file": ("part.png", content)})
                except httpx2.TransportError:
                    return
                if answer.status_code == 200:
                    told.append(answer.json()["id"])
                else:
                    assert answer.status_code in (429, 503), answer.text

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, content) for content in contents]
        deadline = time.monotonic() + 60
        while len(told) < 30:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.send_signal(send_signal)
        for one in calls:
            one.result()
    assert len(told) == len(set(told))
    return set(told)


def stored(database: str) -> set[int]:
    with History(HistoryConfig(database=database)) as history:
        return {entry.id for entry in history.entries()}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Each kind of database."""
    return request.getfixturevalue("url" if request.param == "sqlite" else "postgres")  # type: ignore[no-any-return]


def test_told_to_stop_it_loses_nothing_that_it_accepted(finished_run: Path, database: str) -> None:
    with serving(finished_run, database, "--queue-length", 4, "--batch-images", 4) as (server, address):
        told = acknowledged(server, address, signal.SIGTERM)
        assert server.wait(30) == 0
    assert stored(database) == told  # what was accepted is stored, and what is stored was answered


def test_killed_it_has_stored_what_it_acknowledged(finished_run: Path, database: str) -> None:
    with serving(finished_run, database) as (server, address):
        told = acknowledged(server, address, signal.SIGKILL)
        server.wait(30)
    assert told <= stored(database)


def test_a_request_that_trickles_in_is_ended(finished_run: Path, url: str) -> None:
    with serving(finished_run, url, "--upload-seconds", 0.5) as (_, address):
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as caller:
            head = f"POST /v1/inspect HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: image/png\r\n"
            caller.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"slow")
            assert b" 408 " in caller.recv(4000).partition(b"\r\n")[0]
        assert ready(address)


def test_sinks_are_told_of_what_the_server_judged(finished_run: Path, tmp_path: Path) -> None:
    with Receiver() as receiver:
        database = f"sqlite:///{tmp_path / 'history.db'}"
        with serving(finished_run, database, "--webhook", receiver.url) as (_, address):
            numbers = [httpx2.post(f"{address}/v1/inspect", files={"file": encoded()}).json()["id"] for _ in range(3)]
            eventually(lambda: receiver.taken == numbers)
