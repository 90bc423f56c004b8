"""Who may call a server: tokens, origins and addresses."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from callers import FORM, refused
from clipada.config import ServeConfig
from clipada.errors import ConfigError
from clipada.server.tokens import ensure_token, read_token
from stand_in import Started

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        (None, "no token"),
        ("Bearer wrong", "another token"),
        (f"Bearer {TOKEN}x", "another token"),
        (f"Bearer {TOKEN[:-1]}", "another token"),
        (f"Basic {TOKEN}", "another token"),
        (TOKEN, "no token"),
        ("Bearer", "no token"),
        ("Bearer \u00e4\u00f6", "another token"),
    ],
)
def test_requests_without_the_token_are_refused(started: Started, url: str, shown: str | None, got: str) -> None:
    client = started(token=TOKEN, host="0.0.0.0")
    headers = {} if shown is None else {"Authorization": shown.encode("latin-1")}
    for method, path in (
        ("POST", "/v1/inspect"),
        ("POST", "/v1/inspect/batch"),
        ("GET", "/v1/verdicts"),
        ("POST", "/v1/verdicts/1/feedback"),
        ("GET", "/v1/models/line3"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
    ):
        answer = client.request(method, path, headers=headers)
        refused(answer, 401, got)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_token_in_the_url_does_not_count(started: Started) -> None:
    """Addresses are in logs and histories of browsers."""
    client = started(token=TOKEN, host="0.0.0.0")
    for name in ("token", "access_token", "Authorization"):
        refused(client.get("/v1/verdicts", params={name: TOKEN}), 401, "no token")
    refused(client.get("/v1/verdicts", headers={"Cookie": f"token={TOKEN}"}), 401, "no token")


def test_requests_with_the_token_are_accepted(started: Started) -> None:
    client = started(token=TOKEN, host="0.0.0.0")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/v1/inspect", files=FORM, headers=headers).status_code == 200
    assert client.get("/metrics", headers=headers).status_code == 200


def test_pages_of_other_origins_are_refused(started: Started) -> None:
    client = started()
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8000.evil.example"):
        answer = client.post("/v1/inspect", files=FORM, headers={"Origin": origin})
        refused(answer, 403, "another origin")
        assert "access-control-allow-origin" not in answer.headers
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        refused(client.options("/v1/inspect", headers=asked), 403)
    assert client.post("/v1/inspect", files=FORM, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def test_pages_of_an_allowed_origin_may_call(started: Started) -> None:
    client = started(token=TOKEN, allow_origins=("https://plant.example",))
    asked = {"Origin": "https://plant.example", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/v1/inspect", headers=asked)  # browsers send no token with it
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://plant.example"
    answer = client.post("/v1/inspect", files=FORM, headers={"Origin": "https://plant.example"})
    refused(answer, 401)
    assert answer.headers["access-control-allow-origin"] == "https://plant.example"
    refused(client.options("/v1/inspect", headers={**asked, "Origin": "https://evil.example"}), 403)
    with pytest.raises(ConfigError, match="allow_origins"):
        ServeConfig(allow_origins=("plant.example",))


def test_a_foreign_host_name_is_refused(started: Started) -> None:
    client = started()
    for host in ("evil.example", "evil.example:8000", "", "[", "127.0.0.1.evil.example"):
        refused(client.get("/v1/verdicts", headers={"Host": host}), 400, "another host")
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/v1/verdicts", headers={"Host": host}).status_code == 200
    other = started(host="0.0.0.0", token=TOKEN)
    headers = {"Host": "line3.plant", "Authorization": f"Bearer {TOKEN}"}
    assert other.get("/v1/verdicts", headers=headers).status_code == 200


def test_which_addresses_only_this_machine_reaches() -> None:
    assert all(ServeConfig(host=host).loopback for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    assert not any(ServeConfig(host=host).loopback for host in ("0.0.0.0", "::", "10.0.0.5", "line3.plant"))


def test_a_created_token_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "serve.token"
    token = ensure_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert ensure_token(path) == read_token(path) == token
    assert ensure_token(tmp_path / "other") != token
    for content in ("", "short", "two words that are long enough", "\u00e4" * 20):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(ConfigError, match="token"):
            read_token(tmp_path / "bad")
    with pytest.raises(ConfigError, match="token"):
        read_token(tmp_path / "missing")


def test_a_port_in_use_is_reported(clipada: Callable[..., tuple[int, str, str]], finished_run: Path, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = clipada("serve", finished_run, "--port", taken.getsockname()[1], "--database", url)
    assert code == 2
    assert "cannot listen on 127.0.0.1" in err
