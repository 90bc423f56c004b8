"""`clipada serve` as a process of its own."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

SOURCE = Path(__file__).parents[1] / "src"


@contextmanager
def serving(run: Path, database: str, *words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process that is ready, and its address."""
    command = [sys.executable, "-m", "clipada", "serve", run, "--port", 0, "--database", database, *words]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    with subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True, env=environment, cwd=run
    ) as server:
        try:
            assert server.stderr is not None
            printed = ""
            while not (found := re.search(r"http://\S+", printed)):
                line = server.stderr.readline()
                assert line, printed
                printed += line
            threading.Thread(target=server.stderr.read, daemon=True).start()
            deadline = time.monotonic() + 60
            while not ready(found[0]):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield server, found[0]
        finally:
            server.kill()


def ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz").status_code == 200
    except httpx2.TransportError:
        return False
