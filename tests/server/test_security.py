"""What must not come in: each is refused with a 4xx, a clear message, and nothing stored."""

import io
import json
import os
import pickle
import socket
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from starlette.testclient import TestClient

from clipada.config import HistoryConfig, ServeConfig
from clipada.errors import ConfigError
from clipada.history.store import History
from clipada.server.tokens import ensure_token, read_token
from stand_in import Started, encoded

TOKEN = "correct-horse-battery-staple"
FORM = {"file": ("part.png", encoded())}


def refused(answer: httpx2.Response, status: int, *texts: str) -> None:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error", "expected", "got", "remedy"}
    for text in texts:
        assert text in json.dumps(content), content


@pytest.fixture
def client(started: Started, url: str) -> Iterator[TestClient]:
    """A server that must have stored nothing in the end."""
    yield started(upload_bytes=100_000, max_pixels=1_000_000)
    with History(HistoryConfig(database=url)) as history:
        assert list(history.entries()) == []


# --- images


def test_oversize_is_refused_before_it_is_read(client: TestClient) -> None:
    refused(client.post("/v1/inspect", files={"file": ("a.png", bytes(200_000))}), 413, "100,000 bytes")


def test_oversize_that_does_not_say_so_is_refused_on_the_way(client: TestClient) -> None:
    chunks = (bytes(10_000) for _ in range(20))
    answer = client.post("/v1/inspect", content=chunks, headers={"Content-Type": "image/png"})
    refused(answer, 413, "100,000 bytes")
    refused(client.post("/v1/verdicts/1/feedback", content=bytes(200_000)), 413)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def bomb(side: int) -> bytes:
    """A small PNG that says it has side x side pixels."""
    head = side.to_bytes(4) + side.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(20_000_000))[:50_000])


@pytest.mark.parametrize("side", [2_000, 20_000, 2**31 - 1])
def test_a_decompression_bomb_is_not_decoded(client: TestClient, side: int) -> None:
    refused(client.post("/v1/inspect", files={"file": ("a.png", bomb(side))}), 413, "pixels")


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_pickle_is_never_loaded(client: TestClient, tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.array([Trap(tmp_path / "sprung")]), allow_pickle=True)
    for content in (pickle.dumps(Trap(tmp_path / "sprung")), array.getvalue()):
        for name in ("a.pkl", "a.npy", "a.pt", "a.png"):
            refused(client.post("/v1/inspect", files={"file": (name, content)}), 415, "another kind of file")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))  # it would have sprung
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
        (encoded(kind="GIF"), 415),
        (b"", 422),
        (encoded()[:300], 422),
    ],
)
def test_what_is_no_whole_image_of_a_known_kind(client: TestClient, content: bytes, status: int) -> None:
    refused(client.post("/v1/inspect", files={"file": ("a.png", content)}), status, "image")


def test_nothing_is_fetched(client: TestClient) -> None:
    refused(client.post("/v1/inspect", json={"url": "http://169.254.169.254/latest"}), 415, "application/json")
    refused(client.post("/v1/inspect", data={"url": "file:///etc/passwd"}), 415)
    form = {**FORM, "url": (None, "http://127.0.0.1/x.png")}
    refused(client.post("/v1/inspect", files=form), 422, "URLs are not fetched")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
    ],
)
def test_broken_forms(client: TestClient, kind: str, body: bytes) -> None:
    answer = client.post("/v1/inspect", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


@pytest.mark.parametrize("charset", ["undefined", "unicode_escape", "utf-7", "idna", "zip", "no-such", "utf-16"])
@pytest.mark.parametrize("field", ["file", "\\ud800", "\\xff"])
def test_forms_in_strange_encodings(started: Started, charset: str, field: str) -> None:
    client = started()
    head = f'Content-Disposition: form-data; name="{field}"; filename="\\ud800a.png"\r\n\r\n'
    body = b"--x\r\n" + head.encode() + encoded() + b"\r\n--x--\r\n"
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = client.post("/v1/inspect", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (200, 400, 422), answer.text
    assert client.get("/v1/verdicts").status_code == 200  # a name that was stored can be sent


@pytest.mark.parametrize("length", ["-5", "1e9", "\u00b2", "9" * 5000, "0x10", " ", "+3"])
def test_forged_lengths(client: TestClient, length: str) -> None:
    headers = {"Content-Type": "image/png", "Content-Length": length.encode("latin-1")}
    refused(client.post("/v1/inspect", content=iter([encoded()]), headers=headers), 413)


def test_two_lengths_smuggle_no_second_request(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Length": "4", "Transfer-Encoding": "chunked"}
    answer = client.post("/v1/inspect", content=iter([encoded()]), headers=headers)
    refused(answer, 400, "two ways")
    assert answer.headers["Connection"] == "close"


def test_a_bomb_in_what_comes_with_an_image(client: TestClient) -> None:
    """Texts and color profiles are compressed too: neither 100 MB of zeros in them is unpacked."""
    zeros = zlib.compress(bytes(100_000_000))[: 2**20]
    head, rest = encoded()[:33], encoded()[33:]
    for kind, begin in ((b"zTXt", b"note\0\0"), (b"iTXt", b"note\0\1\0\0\0"), (b"iCCP", b"icc\0\0")):
        content = head + chunk(kind, begin + zeros) + rest
        answer = client.post("/v1/inspect", files={"file": ("a.png", content)})
        assert answer.status_code in (413, 422), (kind, answer.text)


def test_too_many_files(client: TestClient) -> None:
    refused(client.post("/v1/inspect", files=[("file", FORM["file"])] * 2), 400, "Too many files")


# --- paths and numbers


def test_file_names_lead_nowhere(started: Started, tmp_path: Path) -> None:
    client = started()
    for name in ("../../../../etc/passwd", "/etc/passwd", "..\\..\\x.png", "a/../../b.html"):
        answer = client.post("/v1/inspect", files={"file": (name, encoded())})
        assert answer.status_code == 200, answer.text
        assert "/" not in answer.json()["path"]
        assert "\\" not in answer.json()["path"]
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} <= {
        "kept",
        "history.db",
        "history.db-wal",
        "history.db-shm",
    }
    (kept,) = (tmp_path / "kept").rglob("*.*")
    assert kept.suffix == ".png"


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "x' OR 1=1 --", "%00"])
def test_model_names_lead_nowhere(client: TestClient, path: str) -> None:
    refused(client.get(f"/v1/models/{path}"), 404)
    refused(client.post("/v1/inspect", params={"model": path}, files=FORM), 404, "line3")


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "abc", "1;drop table verdicts", str(2**31), str(2**80), "NaN"])
def test_forged_numbers(client: TestClient, number: str) -> None:
    for path in ("", "/image", "/map"):
        refused(client.get(f"/v1/verdicts/{number}{path}"), 422)
    refused(client.post(f"/v1/verdicts/{number}/feedback", json={"confirmed": True}), 422)
    refused(client.get("/v1/verdicts", params={"before": number}), 422)


def test_numbers_of_nothing(client: TestClient) -> None:
    for path in ("", "/image", "/map"):
        refused(client.get(f"/v1/verdicts/{2**31 - 1}{path}"), 404, "no verdict")


def test_a_forged_database_opens_no_other_file(started: Started, url: str, tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    client = started()
    number = client.post("/v1/inspect", files=FORM).json()["id"]
    (tmp_path / "secret.txt").write_text("secret")
    with create_engine(url).begin() as connection:
        connection.execute(text("update verdicts set kept = :kept"), {"kept": str(tmp_path / "secret.txt")})
    for path in ("/image", "/map"):
        refused(client.get(f"/v1/verdicts/{number}{path}"), 404, "removed")
    assert "secret" not in client.get(f"/v1/verdicts/{number}").text


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"confirmed": "yes"}',
        b'{"confirmed": true, "admin": true}',
        b'{"confirmed": true, "reason": "\\u0000"}',
        b'{"confirmed": true, "reason": "\\ud800"}',
        b'{"confirmed": true, "reason": "' + b"x" * 3000 + b'"}',
        b'{"confirmed": true, "\\ud800": 1}',
        b'{"confirmed": NaN}',
        b'{"confirmed": 1' + b"0" * 5000 + b"}",
        b'{"confirmed": true, "reason": ' + b"[" * 40_000 + b"}",
    ],
)
def test_forged_words(started: Started, body: bytes) -> None:
    client = started()
    number = client.post("/v1/inspect", files=FORM).json()["id"]
    answer = client.post(f"/v1/verdicts/{number}/feedback", content=body, headers={"Content-Type": "application/json"})
    refused(answer, 400 if len(body) > 4000 else 422)  # what JSON's own reader gives up on, and what it reads
    assert client.get(f"/v1/verdicts/{number}").json()["confirmed"] is None


# --- who calls


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
