"""Verdicts to store, and receivers to deliver them to."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from clipada.calibration import Calibration, CalibrationImage
from clipada.config import CalibrationConfig, HistoryConfig, SinkConfig
from clipada.errors import SinkError
from clipada.history.delivery import Courier
from clipada.history.outbox import Delivery
from clipada.history.sinks import Sink
from clipada.history.store import Entry, History
from clipada.images import image_sha256
from clipada.types import ModelIdentity, Region, Verdict

MODEL = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")


def verdict(score: float = 0.25, path: Path | None = None, days_old: float = 0, **changes: object) -> Verdict:
    image = np.full((4, 6, 3), 7, np.uint8)
    base = Verdict(
        score=score,
        image=image,
        anomaly_map=np.full((4, 6), score, np.float32),
        regions=(Region(box=(0, 0, 2, 2), area=4, peak=0.5, peak_position=(1, 1)),),
        threshold=0.4,
        path=path,
        image_sha256=image_sha256(path or image),
        time=(datetime.now(UTC) - timedelta(days=days_old)).isoformat(timespec="milliseconds"),
        latency_ms=12.5,
        model=MODEL,
        calibration="0123456789ab",
        p_value=0.125,
        score_threshold=0.3,
        defective=score > 0.3,
        group="nut",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


HASTY = SinkConfig(timeout=0.6, first_wait=0.01, longest_wait=0.05, poll=0.01, lease=2.0)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until a condition is met."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.01)


class Receiver:
    """A web server with scripted responses, which records its requests.

    Args:
        answers: What to do with each request in turn, then ``200``: a status, or ``cut``, ``silent``.
        port: Where to listen.
    """

    def __init__(self, *answers: int | str, port: int = 0) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[int] = []
        self.closed = False
        left = list(answers)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if receiver.closed:  # a connection that was kept open
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                answer = left.pop(0) if left else 200
                if answer == "silent":
                    time.sleep(1)
                if isinstance(answer, str):  # taken, but the answer is lost
                    receiver.taken.append(json.loads(body)["id"])
                    self.close_connection = True
                    return
                if answer == 200:
                    receiver.taken.append(json.loads(body)["id"])
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                if 300 <= answer < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/verdicts"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.server.shutdown()
        self.server.server_close()

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.requests]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def opened(url: str, *sinks: Sink) -> History:
    return History(HistoryConfig(database=url), sinks=[sink.name for sink in sinks])


def delivered(url: str, *sinks: Sink, store: int = 0) -> list[int]:
    """Store verdicts, if any, and deliver until nothing waits; return the numbers stored."""
    with opened(url, *sinks) as history, Courier(history, sinks, HASTY):
        numbers = [history.store([verdict()])[0] for _ in range(store)]
        eventually(lambda: history.waiting() == [])
        return numbers


class Listener:
    """A sink in this process.

    Args:
        failing: How many attempts fail first.
    """

    def __init__(self, name: str = "listener", failing: int = 0) -> None:
        self.name, self.failing = name, failing
        self.taken: list[Delivery] = []
        self.closed = False

    def deliver(self, delivery: Delivery) -> None:
        if self.failing:
            self.failing -= 1
            raise SinkError(f"{self.name} has not accepted a verdict")
        self.taken.append(delivery)

    def close(self) -> None:
        self.closed = True


def made_calibration() -> Calibration:
    scores = np.random.default_rng(0).normal(0.3, 0.05, 200)
    images = [CalibrationImage(sha256=str(index), score=float(score), peak=0.5) for index, score in enumerate(scores)]
    return Calibration(
        settings=CalibrationConfig(false_alarm_rate=0.05),
        images=tuple(images),
        model_sha256=MODEL.sha256,
        engine=MODEL.engine,
        created="",
        command="",
    )


def all_of(history: History) -> list[Entry]:
    return list(history.entries())
