"""The server does what its OpenAPI document says, tried with generated requests, valid and invalid."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from clipada import Inspector
from clipada.config import HistoryConfig, ScoringConfig, ServeConfig
from clipada.history.store import History
from clipada.server.app import create_app
from clipada.server.uploads import IMAGE_TYPES
from stand_in import StandIn, encoded

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a verdict for each format of images, so that some generated ids exist."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    storage = HistoryConfig(database=f"sqlite:///{folder / 'history.db'}", keep="all", images=str(folder / "kept"))
    models = {"line3": Inspector(StandIn(), ScoringConfig(sigma=1.0))}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create_app(models, ServeConfig(), History(storage)), log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        for seed, kind in enumerate(KINDS):
            content = encoded(seed=seed, kind=kind)
            assert httpx2.post(f"{url}/v1/inspect", files={"file": (f"part.{kind}", content)}).status_code == 200
        yield url
        server.should_exit = True
        thread.join()


HOOKS = """
import sys
sys.path.insert(0, {tests!r})
import schemathesis
from hypothesis import strategies as st
from stand_in import encoded

kinds = {{"image/bmp": "BMP", "image/jpeg": "JPEG", "image/png": "PNG", "image/tiff": "TIFF", "image/webp": "WEBP"}}
images = {{media_type: encoded(kind=kind) for media_type, kind in kinds.items()}}
schemathesis.openapi.format("binary", st.sampled_from(sorted(images.values())))
for media_type, image in images.items():
    schemathesis.openapi.media_type(media_type, st.just(image))
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from(sorted(images.values())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_requests_and_answers_are_as_documented(address: str, tmp_path: Path, seed: int) -> None:
    """Every check of schemathesis, as a process of its own: its plug-in for pytest depends on pytest's version."""
    pytest.importorskip("schemathesis", reason="no schemathesis: pip install schemathesis")
    (tmp_path / "hooks.py").write_text(HOOKS.format(tests=str(Path(__file__).parents[1])))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--seed", str(seed)]
    command += ["--max-examples", "60", "--phases", "examples,coverage,fuzzing", "--checks", "all", "--no-color"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(tmp_path / "hooks.py")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_documented_types_are_those_that_are_received_and_sent(address: str) -> None:
    paths = httpx2.get(f"{address}/openapi.json").json()["paths"]
    received = paths["/v1/inspect"]["post"]["requestBody"]["content"]
    assert set(received) == {"multipart/form-data", "application/octet-stream", *IMAGE_TYPES}
    sent = paths["/v1/verdicts/{number}/image"]["get"]["responses"]["200"]["content"]
    for number, kind in enumerate(KINDS, start=1):
        content = encoded(kind=kind)
        headers = {"Content-Type": f"image/{kind.lower()}"}
        assert httpx2.post(f"{address}/v1/inspect", content=content, headers=headers).status_code == 200
        shown = httpx2.get(f"{address}/v1/verdicts/{number}/image")
        assert (shown.status_code, shown.headers["content-type"] in sent) == (200, True)
    gif = httpx2.post(f"{address}/v1/inspect", content=encoded(kind="GIF"), headers={"Content-Type": "image/gif"})
    assert gif.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/verdicts/1/feedback", b'{"confirmed": true, "reason": ' + b"[" * 40_000, 400),
        ("POST", "/v1/verdicts/1/feedback", bytes(200_000), 413),
        ("POST", "/v1/verdicts/1/feedback", b"{}", 422),
        ("GET", "/v1/verdicts?group=%00", b"", 422),
        ("GET", "/v1/verdicts?until=0.5", b"", 422),
        ("GET", "/v1/verdicts/9999", b"", 404),
        ("GET", "/v1/verdicts/9999/map", b"", 404),
        ("GET", "/v1/rates?model=other", b"", 404),
        ("GET", "/v1/rates?by=year", b"", 422),
        ("GET", "/v1/models/other", b"", 404),
    ],
)
def test_statuses_are_documented(address: str, method: str, path: str, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx2.request(method, f"{address}{path}", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    paths = httpx2.get(f"{address}/openapi.json").json()["paths"]
    route = re.sub(r"/\d+", "/{number}", path.partition("?")[0]).replace("/other", "/{name}")
    assert paths[route][method.lower()]["responses"][str(status)]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Problem"
    }
    foreign = httpx2.get(f"{address}/v1/status", headers={"Host": "evil.example"})
    assert str(foreign.status_code) in paths["/v1/status"]["get"]["responses"]


def test_text_is_documented_without_nul(address: str) -> None:
    parameters = httpx2.get(f"{address}/openapi.json").json()["paths"]["/v1/verdicts"]["get"]["parameters"]
    (group,) = [one for one in parameters if one["name"] == "group"]
    assert "0000" in json.dumps(group["schema"])
