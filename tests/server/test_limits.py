"""Limits name the option that sets them, and an address that cannot be used names the part to change."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from clipada.commands import serve
from clipada.config import ServeConfig
from clipada.errors import ConfigError
from stand_in import Started, encoded


@pytest.mark.parametrize(
    ("path", "settings", "field", "content", "option"),
    [
        ("/v1/inspect", {"upload_bytes": 1000}, "file", bytes(2000), "--upload-bytes"),
        ("/v1/inspect/batch", {"upload_bytes": 1000, "batch_bytes": 1500}, "files", bytes(2000), "--batch-bytes"),
        ("/v1/inspect", {"max_pixels": 500}, "file", encoded(), "--max-pixels"),
    ],
)
def test_a_request_that_is_too_large_names_the_option(
    started: Started, path: str, settings: dict[str, int], field: str, content: bytes, option: str
) -> None:
    answer = started(**settings).post(path, files={field: ("part.png", content)})
    assert answer.status_code == 413
    assert option in answer.json()["remedy"]


def test_a_body_without_a_length_names_the_option(started: Started) -> None:
    client = started(upload_bytes=1000)
    answer = client.post("/v1/inspect", content=iter([bytes(2000)]), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413
    assert "--upload-bytes" in answer.json()["remedy"]
    assert "--" not in client.post("/v1/verdicts/1/feedback", content=bytes(200_000)).json()["remedy"]


def test_too_many_files_name_the_option(started: Started) -> None:
    client, part = started(batch_images=2), ("part.png", encoded())
    batch = client.post("/v1/inspect/batch", files=[("files", part)] * 3)
    assert (batch.status_code, batch.json()["expected"]) == (400, "at most 2 images")
    assert "--batch-images" in batch.json()["remedy"]
    single = client.post("/v1/inspect", files=[("file", part)] * 2)
    assert "/v1/inspect/batch" in single.json()["remedy"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "1.2.3.4.5", "a" * 300, "\u00e4" * 80, "[::1]"])
def test_a_host_that_cannot_be_used_points_to_host(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on") as caught:
        serve._listening(ServeConfig(host=host, port=0))
    assert "--host" in (caught.value.remedy or "")
    assert "--port" not in (caught.value.remedy or "")


def test_a_port_in_use_points_to_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen") as caught:
        serve._listening(ServeConfig(port=taken.getsockname()[1]))
    assert caught.value.remedy == "choose another --port"


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "abc"),
        ("--port", "99999"),
        ("--port", "-1"),
        ("--host", ""),
        ("--host", "no-such-host.invalid"),
        ("--database", "postgresql+psycopg://u@h:abc/d"),
        ("--webhook", "http://127.0.0.1:abc/x"),
        ("--mqtt", "mqtt://127.0.0.1:abc/x"),
        ("--mqtt", "mqtt://127.0.0.1:99999/x"),
    ],
)
def test_addresses_that_cannot_be_used_end_with_2(
    clipada: Callable[..., tuple[int, str, str]],
    finished_run: Path,
    tmp_path: Path,
    words: tuple[str, str],
) -> None:
    database = () if "--database" in words else ("--database", f"sqlite:///{tmp_path / 'history.db'}")
    code, _, err = clipada("serve", finished_run, *words, *database)
    assert code == 2
    assert err.strip()
