"""Connections that cost too much: too many, too slow, malformed. The server answers others, and logs few lines."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

FILES = 256
SERVER = """
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from clipada.commands import serve
from clipada.config import ServeConfig
from connections_app import app
logging.basicConfig(level=logging.WARNING)
settings = ServeConfig(port=0, upload_seconds=float(sys.argv[2]))
with serve._listening(settings) as listener:
    print(listener.getsockname()[1], flush=True)
    serve._run(app, settings, listener, lambda: None)
"""


@contextmanager
def serving(folder: Path, seconds: float) -> Iterator[tuple[int, list[str]]]:
    """A server of an application that answers everything, with few open files; its port and its log."""
    (folder / "connections_app.py").write_text(
        "import asyncio\n"
        "class State: service = type('Service', (), {'stopping': False})()\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        while True:\n"
        "            kind = (await receive())['type']\n"
        "            await send({'type': kind + '.complete'})\n"
        "            if kind == 'lifespan.shutdown': return\n"
        "    if scope['path'] == '/early':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': b'x', 'more_body': True})\n"
        "    while (message := await receive())['type'] == 'http.request' and message['more_body']: pass\n"
        "    if scope['path'] != '/early':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    size = 10**8 if scope['path'] == '/large' else 1\n"
        "    await send({'type': 'http.response.body', 'body': b'y' * size})\n"
        "app.state = State\n"
    )
    command = [sys.executable, "-c", SERVER, str(FILES), str(seconds)]
    paths = {"PYTHONPATH": f"{Path(__file__).parents[2] / 'src'}:{folder}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=paths) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        log: list[str] = []
        threading.Thread(target=log.extend, args=(server.stderr,), daemon=True).start()
        try:
            port = int(server.stdout.readline())
            deadline = time.monotonic() + 30
            while not answers(port):
                assert time.monotonic() < deadline, log
                time.sleep(0.05)
            yield port, log
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[str]]]:
    with serving(tmp_path_factory.mktemp("patient"), 30) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[str]]]:
    with serving(tmp_path_factory.mktemp("hasty"), 0.5) as server:
        yield server


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def connected(port: int) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    one.settimeout(20)
    return one


def everything_from(one: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    received = b""
    try:
        while part := one.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def test_idle_connections_leave_room_for_requests(patient: tuple[int, list[str]]) -> None:
    """More connections that send nothing than the server may open files."""
    port, log = patient
    with ExitStack() as stack:
        for _ in range(2 * FILES):
            stack.enter_context(connected(port))
        time.sleep(1.2)
        assert all(answers(port) for _ in range(20))
        assert len(log) == 1
        assert "at most 128 are open at once" in log[0]


def test_requests_in_work_are_not_closed_for_idle_ones(patient: tuple[int, list[str]]) -> None:
    port, _ = patient
    with ExitStack() as stack:
        working = [stack.enter_context(connected(port)) for _ in range(5)]
        for one in working:
            one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1")
        time.sleep(1.2)
        for _ in range(200):
            stack.enter_context(connected(port))
        for one in working:
            one.sendall(b"2")
            assert everything_from(one).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", b"HTTP/1.1 200"),  # the second request of a connection
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", b""),
    ],
)
def test_slow_requests_are_cut(hasty: tuple[int, list[str]], sent: bytes, answer: bytes) -> None:
    port, log = hasty
    with connected(port) as one:
        started = time.monotonic()
        dripping = threading.Thread(target=drip, args=(one, sent), daemon=True)
        dripping.start()
        assert everything_from(one).startswith(answer)
        assert time.monotonic() - started < 12
        assert answers(port)
    assert not any("Traceback" in line for line in log)


def drip(one: socket.socket, sent: bytes) -> None:
    """Send bytes, and then one more again and again."""
    try:
        one.sendall(sent)
        while sent:
            time.sleep(0.1)
            one.sendall(b"a")
    except OSError:
        pass


def test_an_answer_that_nobody_reads_is_cut(hasty: tuple[int, list[str]]) -> None:
    port, log = hasty
    with connected(port) as one:
        one.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2)
        assert len(everything_from(one)) < 10**8
        assert answers(port)
    assert not any("Traceback" in line for line in log)


@pytest.mark.parametrize("path", ["/", "/early"])
@pytest.mark.parametrize("chunk", [b"zz\r\n", b"5\r\nabcdeXX", b"-1\r\n", b"\x00\r\n", b"f" * 99 + b"\r\n"])
def test_a_malformed_chunk_is_one_line_of_the_log(hasty: tuple[int, list[str]], path: str, chunk: bytes) -> None:
    port, log = hasty
    before = len(log)
    with connected(port) as one:
        one.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        time.sleep(0.2)
        one.sendall(chunk)
        received = everything_from(one)
        assert received.startswith(b"HTTP/1.1 400" if path == "/" else b"HTTP/1.1 200")
        assert answers(port)
        assert len(log) - before <= 1
