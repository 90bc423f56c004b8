"""A PostgreSQL server, and a server of verdicts."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient

from clipada import Inspector
from clipada.config import HistoryConfig, ScoringConfig, ServeConfig
from clipada.history.store import History
from clipada.server.app import create_app
from stand_in import StandIn, Started


def _postgres_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: of those on the path, else the newest of Debian's."""
    found = shutil.which("initdb")
    places = [Path(found).resolve()] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of its own, on a socket in a temporary folder."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'psycopg[binary]'")
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    user = {"user": "postgres"} if os.getuid() == 0 else {}  # it refuses to be root
    with tempfile.TemporaryDirectory(prefix="clipada-pg-") as folder:
        if user:
            shutil.chown(folder, "postgres")
        subprocess.run(
            [binaries / "initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "clipada"], check=True, **user
        )
        command = [binaries / "postgres", "-D", f"{folder}/data", "-k", folder, "-c", "listen_addresses="]
        with subprocess.Popen(command, **user) as server:
            while subprocess.run([binaries / "pg_isready", "-q", "-h", folder], check=False).returncode:
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
            yield f"postgresql+psycopg://clipada@/{{name}}?host={folder}"
            server.send_signal(signal.SIGINT)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """An empty database of that server."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(postgres_server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return postgres_server.format(name=name)


@pytest.fixture
def engine() -> StandIn:
    return StandIn()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.fixture
def started(engine: StandIn, tmp_path: Path, url: str) -> Iterator[Started]:
    """Start an application: by default of one model, the stand-in."""
    with ExitStack() as stack:

        def start(
            token: str | None = None, models: dict[str, Inspector] | None = None, **settings: object
        ) -> TestClient:
            storage = HistoryConfig(database=url, keep="all", images=str(tmp_path / "kept"))
            models = models or {"line3": Inspector(engine, ScoringConfig(sigma=1.0))}
            config = ServeConfig(**settings)  # type: ignore[arg-type]
            app = create_app(models, config, History(storage), token=token)
            client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
            stack.callback(engine.open.set)  # before the client stops, so that nothing waits for ever
            stack.enter_context(client)
            stack.callback(engine.open.set)
            deadline = time.monotonic() + 20
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            engine.batches.clear()
            return client

        yield start
