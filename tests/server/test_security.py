"""What must not come in: each is refused with a 4xx, a clear message, and nothing stored."""

import io
import os
import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from callers import FORM, refused
from clipada.config import HistoryConfig
from clipada.history.store import History
from stand_in import Started, encoded


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
