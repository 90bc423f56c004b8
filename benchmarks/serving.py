"""Load test of the server: many callers, then ten times the load that it can handle.

python benchmarks/serving.py RUN --images FOLDER [--seconds 300] [--overload-seconds 60] [-- SERVE-OPTIONS]

First, ``--clients`` callers send one image after another, each as soon as it has its answer. Then ten times as many
send at ten times the rate that was answered before, regardless of the answers. Finally the server is stopped. The
output has the number of answered images, the server's processor time for each, latencies measured by the callers,
answers by status, the server's memory, and the number of images that were answered but are missing in the database,
which must be 0. Callers run in a separate process on the same machine, which they share with the server.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from clipada.config import HistoryConfig
from clipada.data.listing import find_images
from clipada.devices import machine
from clipada.history.store import History

OVERLOAD = 10


@dataclass
class Phase:
    """Measurements of one phase.

    Attributes:
        name: Name of the phase.
        seconds: Duration of the phase.
        answers: Status, seconds to the answer, and the verdict's number if there is one.
        rss: Resident memory of the server in bytes, once per second.
        cpu: Processor time of the server, in seconds.
    """

    name: str
    seconds: float
    answers: list[tuple[int, float, int | None]] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Verdicts per second."""
        return len(self.numbers) / self.seconds

    @property
    def numbers(self) -> list[int]:
        """Numbers of the verdicts that were answered."""
        return [number for _, _, number in self.answers if number is not None]


class Server:
    """Server process."""

    def __init__(self, run: Path, database: str, options: list[str]) -> None:
        command = [sys.executable, "-m", "clipada", "serve", str(run), "--port", "0", "--database", database, *options]
        environment = os.environ | {"COLUMNS": "200"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        said = ""
        while not (found := re.search(r"http://([\d.]+):(\d+)", said)):
            line = self.process.stderr.readline()
            if not line:
                raise SystemExit(said)
            said += line
        self.address = (found[1], int(found[2]))
        threading.Thread(target=self._pass_on, daemon=True).start()
        while self._ready() != 200:
            time.sleep(0.1)

    def _pass_on(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            sys.stderr.write(line)

    def _ready(self) -> int:
        connection = http.client.HTTPConnection(*self.address)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def rss(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def cpu(self) -> float:
        """Processor time taken so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Stop the server; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def send(connection: http.client.HTTPConnection, content: bytes) -> tuple[int, float, int | None]:
    """Send one image; return status (0 if the connection broke), seconds and the verdict's number."""
    started = time.perf_counter()
    try:
        connection.request("POST", "/v1/inspect", content, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answered = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, time.perf_counter() - started, None
    number = json.loads(answered)["id"] if answer.status == 200 else None
    return answer.status, time.perf_counter() - started, number


def load(server: Server, phase: Phase, contents: list[bytes], clients: int, rate: float | None = None) -> Phase:
    """Let callers send for a time: each as soon as it can, or all together at ``rate`` images per second."""
    end, cpu = time.perf_counter() + phase.seconds, server.cpu()
    order = itertools.cycle(contents)

    def call(index: int) -> None:
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        due = time.perf_counter() + (index / rate if rate else 0)
        while True:
            time.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() >= end:
                return
            phase.answers.append(send(connection, next(order)))
            due = max(due, time.perf_counter() - 1) + (clients / rate if rate else 0)

    callers = [threading.Thread(target=call, args=(index,)) for index in range(clients)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        phase.rss.append(server.rss())
        time.sleep(1)
    phase.cpu = server.cpu() - cpu
    return phase


def row(phase: Phase) -> list[str]:
    """Format a phase as cells of the table."""
    answered = np.array([seconds for status, seconds, _ in phase.answers if status == 200] or [np.nan])
    refused = np.array([seconds for status, seconds, _ in phase.answers if status == 429] or [np.nan])
    statuses = Counter(status for status, *_ in phase.answers)
    memory = f"{phase.rss[0] / 1e6:.0f}, {max(phase.rss) / 1e6:.0f}, {phase.rss[-1] / 1e6:.0f}"
    return [
        phase.name,
        f"{phase.rate:.1f}",
        f"{1000 * phase.cpu / max(1, len(phase.numbers)):.0f}",
        *(f"{1000 * value:.0f}" for value in np.quantile(answered, [0.5, 0.95, 0.99, 1])),
        f"{1000 * np.quantile(refused, 0.99):.0f}",
        ", ".join(f"{count} x {status or 'broken'}" for status, count in sorted(statuses.items())),
        memory,
    ]


def main() -> None:
    """Measure, print, and fail if an answered verdict was lost or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="what callers send")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--database", help="a URL; by default SQLite in a temporary folder")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options, serve = parser.parse_args(words[:end]), words[end + 1 :]
    contents = [path.read_bytes() for path in find_images([options.images])]
    with tempfile.TemporaryDirectory() as temporary:
        database = options.database or f"sqlite:///{temporary}/history.db"
        server = Server(options.run, database, serve)
        try:
            phases = [load(server, Phase(f"{options.clients} callers", options.seconds), contents, options.clients)]
            rate = OVERLOAD * phases[0].rate
            name = f"{rate:.0f} images/s offered"
            overload = Phase(name, options.overload_seconds)
            phases.append(load(server, overload, contents, OVERLOAD * options.clients, rate))
            after = Phase("after it", min(options.seconds, 20))
            phases.append(load(server, after, contents, options.clients))
            exit_status = server.stop()
        finally:
            server.process.kill()
        with History(HistoryConfig(database=database)) as history:
            stored = {entry.id for entry in history.entries()}
    answered = [number for phase in phases for number in phase.numbers]
    show(phases, len(contents))
    broken = [status for phase in phases for status, *_ in phase.answers if status == 0 or status >= 500]
    lost = len(set(answered) - stored)
    sys.stdout.write(f"{len(answered)} answered, {lost} of them not in the database; {len(stored)} stored; ")
    sys.stdout.write(f"{len(broken)} answers 5xx or broken; exit status on SIGTERM {exit_status}\n")
    if lost or broken or exit_status or len(set(answered)) < len(answered):
        raise SystemExit(1)


def show(phases: list[Phase], images: int) -> None:
    """Print the table."""
    console = Console(width=150)
    versions = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "onnxruntime", "openvino"))
    console.print(f"{machine('cpu')}; {versions}; {images} different images", highlight=False)
    table = Table(box=None)
    heads = (
        "",
        "verdicts/s",
        "CPU ms each",
        "p50 ms",
        "p95",
        "p99",
        "max",
        "p99 of 429",
        "answers",
        "memory MB: first, highest, last",
    )
    for head in heads:
        table.add_column(head, justify="left" if head in ("", "answers") else "right")
    for phase in phases:
        table.add_row(*row(phase))
    console.print(table)


if __name__ == "__main__":
    main()
