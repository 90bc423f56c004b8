"""MQTT against a real broker: what it confirms has arrived, what it refuses waits."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from clipada.errors import SinkError
from clipada.history.delivery import Courier
from clipada.history.outbox import Delivery
from clipada.history.sinks import MqttSink
from clipada.history.store import History
from deliveries import HASTY, delivered, eventually, free_port, opened, verdict

mqtt = pytest.importorskip("paho.mqtt.client", reason="no MQTT client: pip install paho-mqtt")
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no MQTT broker: apt-get install mosquitto")

ONE = Delivery(id=1, verdict_id=1, name="a" * 32, record={})


@contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[None]:
    """A broker of its own that keeps what it confirmed, as one on a line would."""
    settings = [f"listener {port} 127.0.0.1", *(lines or ["allow_anonymous true"])]
    settings += ["persistence true", f"persistence_location {folder}/", "autosave_interval 1", "user root"]
    (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")
    log = folder / "mosquitto.log"
    with (
        log.open("ab") as output,
        subprocess.Popen([str(MOSQUITTO), "-c", folder / "mosquitto.conf"], stderr=output) as process,
    ):
        try:
            eventually(lambda: _listens(port) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end until it does: a signal between two waits of its own may go unheard."""
    for _ in range(10):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return
    process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def subscriber(port: int, topic: str) -> Iterator[list[dict[str, Any]]]:
    """What arrives at a topic, read by a client whose session the broker keeps while it is offline."""
    arrived: list[dict[str, Any]] = []
    ready: list[object] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False)
    client.on_message = lambda _client, _userdata, message: arrived.append(json.loads(message.payload))
    client.on_subscribe = lambda *_: ready.append(1)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(lambda: bool(ready))
    yield arrived
    client.disconnect()
    client.loop_stop()


def test_each_verdict_arrives_in_order(url: str, tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, "plant/#") as arrived:
        numbers = delivered(url, MqttSink(f"mqtt://127.0.0.1:{port}/plant/line%203"), store=20)
        eventually(lambda: len(arrived) == 20)
    assert [content["id"] for content in arrived] == numbers
    assert arrived[0]["score"] == 0.25
    assert len({content["delivery"] for content in arrived}) == 20


def test_a_broker_that_is_down_first_and_again_in_between(url: str, tmp_path: Path) -> None:
    port = free_port()
    address = f"mqtt://127.0.0.1:{port}/line3"
    ids: list[int] = []
    numbers: list[int] = []
    with opened(url, MqttSink(address)) as history:
        for _ in range(2):
            numbers += history.store([verdict() for _ in range(10)])
            with Courier(history, [MqttSink(address)], HASTY):
                eventually(lambda: any(waiting.failures for waiting in history.waiting()))
            with (
                broker(tmp_path, port),
                subscriber(port, "line3") as arrived,
                Courier(history, [MqttSink(address)], HASTY),
            ):
                eventually(lambda: history.waiting() == [])
                eventually(lambda seen=arrived: len(seen) >= 10)  # type: ignore[misc]
                ids += [content["id"] for content in arrived]
    assert list(dict.fromkeys(ids)) == numbers


def test_a_broker_that_refuses_the_password_or_the_topic_is_no_delivery(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "users").touch()
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("no mosquitto_passwd")
    subprocess.run([program, "-b", tmp_path / "users", "line", "hush"], check=True)
    (tmp_path / "rights").write_text("user line\ntopic write mine/#\n")
    lines = [f"password_file {tmp_path / 'users'}", f"acl_file {tmp_path / 'rights'}"]
    with broker(tmp_path, port, *lines):
        sink = MqttSink(f"mqtt://line:hush@127.0.0.1:{port}/mine/verdicts")
        sink.deliver(ONE)
        sink.close()
        for address in (f"mqtt://line:hushhush@127.0.0.1:{port}/mine/x", f"mqtt://line:hush@127.0.0.1:{port}/theirs/x"):
            sink = MqttSink(address)
            with pytest.raises(SinkError, match="Not authorized") as caught:
                sink.deliver(ONE)
            assert "hush" not in str(caught.value) + sink.name


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_tls_is_spoken_to_those_we_trust_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, key, certificate = free_port(), tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with broker(tmp_path, port, f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true"):
        sink = MqttSink(f"mqtts://127.0.0.1:{port}/line3")
        with pytest.raises(SinkError, match="certificate"):
            sink.deliver(ONE)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sink.deliver(ONE)
        sink.close()


def test_a_silent_server_is_given_up_in_time(url: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sink = MqttSink(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/line3", timeout=0.2)
        with pytest.raises(SinkError, match="no answer"):
            sink.deliver(ONE)


def test_the_history_outlives_a_broker_that_never_comes(url: str) -> None:
    sink = MqttSink(f"mqtt://127.0.0.1:{free_port()}/line3", timeout=0.2)
    with opened(url, sink) as history, Courier(history, [sink], HASTY):
        history.store([verdict()])
    with History(history.settings) as history:
        assert [waiting.verdicts for waiting in history.waiting()] == [1]
