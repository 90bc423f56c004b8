"""Sinks: each verdict arrives, in order, whatever fails on either side; checked with a real web server."""

import hashlib
import hmac
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipada.config import SinkConfig
from clipada.errors import ConfigError, SinkError
from clipada.history.delivery import Courier
from clipada.history.sinks import SIGNATURE, MqttSink, WebhookSink, open_sinks
from deliveries import HASTY, Listener, Receiver, delivered, eventually, free_port, opened, verdict


def first_of_each(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


# --- nothing is lost when a sink fails


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (503, 500, 404, 429),
        (200, 200, "cut", 200, "cut", "cut"),
        (301, 302, 307, 200, 303),
        ("silent", 200, "silent"),
    ],
    ids=["well", "failing first", "answers lost", "redirecting", "silent"],
)
def test_a_webhook_gets_each_verdict_in_order(url: str, answers: tuple[int | str, ...]) -> None:
    with Receiver(*answers) as receiver:
        numbers = delivered(url, WebhookSink(receiver.url, timeout=0.6), store=8)
        assert first_of_each(receiver.taken) == numbers
        assert len(receiver.requests) >= 8 + sum(answer != 200 for answer in answers)
        assert len(set(receiver.keys)) == 8  # every attempt at one verdict has the same key


def test_what_arrives_is_what_predict_prints(url: str) -> None:
    with Receiver() as receiver:
        (number,) = delivered(url, WebhookSink(receiver.url), store=1)
        ((headers, body),) = receiver.requests
    content = json.loads(body)
    assert headers["Content-Type"] == "application/json"
    assert content["id"] == number
    assert content["delivery"] == headers["Idempotency-Key"]
    assert (content["score"], content["defective"], content["group"]) == (0.25, False, "nut")
    assert content["regions"][0]["box"] == [0, 0, 2, 2]


def test_a_webhook_that_is_down_gets_everything_when_it_comes_back(url: str, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    sink = WebhookSink(f"http://127.0.0.1:{port}/verdicts")
    with opened(url, sink) as history, Courier(history, [sink], HASTY):
        numbers = [history.store([verdict()])[0] for _ in range(20)]
        eventually(lambda: any(waiting.failures >= 3 for waiting in history.waiting()))
        (waiting,) = history.waiting()
        assert (waiting.sink, waiting.verdicts) == (sink.name, 20)
        assert "refused" in (waiting.error or "")
        with Receiver(port=port) as receiver:
            eventually(lambda: history.waiting() == [])
            assert receiver.taken == numbers
    assert [record.message.partition("\n")[0] for record in caplog.records if "clipada" in record.name] == [
        f"verdicts stay queued in the history, nothing is lost: {sink.name} has not accepted a verdict",
        f"{sink.name} accepts verdicts again",
    ]


def test_a_server_that_crashes_in_mid_stream_and_starts_again(url: str) -> None:
    port = free_port()
    sink = WebhookSink(f"http://127.0.0.1:{port}/verdicts", timeout=0.6)
    numbers: list[int] = []
    lives: list[list[int]] = []  # read at the end: a request may be answered while its server goes
    with opened(url, sink) as history, Courier(history, [sink], HASTY):
        for _ in range(3):
            with Receiver(port=port) as receiver:
                lives.append(receiver.taken)
                numbers += history.store([verdict() for _ in range(30)])
                eventually(lambda: len(lives[-1]) >= 5)
        with Receiver(port=port) as receiver:
            lives.append(receiver.taken)
            eventually(lambda: history.waiting() == [])
    assert first_of_each([number for life in lives for number in life]) == numbers


def test_one_sink_that_is_down_holds_up_no_other(url: str) -> None:
    well, ill = Listener("well"), Listener("ill", failing=10**9)
    with opened(url, well, ill) as history, Courier(history, [well, ill], HASTY):
        numbers = history.store([verdict() for _ in range(5)])
        eventually(lambda: len(well.taken) == 5)
        assert [delivery.verdict_id for delivery in well.taken] == numbers
        eventually(lambda: [(waiting.sink, waiting.verdicts) for waiting in history.waiting()] == [("ill", 5)])
    assert well.closed
    assert ill.closed


def test_a_new_sink_gets_verdicts_from_then_on(url: str) -> None:
    old, new = Listener("old"), Listener("new")
    delivered(url, old, store=3)
    numbers = delivered(url, old, new, store=2)
    assert [delivery.verdict_id for delivery in new.taken] == numbers
    assert len(old.taken) == 5


def test_a_flush_tries_once_more_and_leaves_the_rest_for_later(url: str) -> None:
    sink = Listener(failing=1)
    with opened(url, sink) as history:
        numbers = history.store([verdict() for _ in range(120)])
        for left in (120, 0):
            courier = Courier(history, [sink], HASTY)
            courier.close(flush=True)
            assert sum(waiting.verdicts for waiting in history.waiting()) == left
    assert [delivery.verdict_id for delivery in sink.taken] == numbers


# --- nothing is lost when this process is killed


def killed(code: str, *words: str, when: Callable[[], bool] = lambda: True) -> list[str]:
    """What a process printed before it was killed, ten lines or more, when something was so."""
    head = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from deliveries import *; from clipada.history.sinks import WebhookSink\n"
        "sink = WebhookSink(sys.argv[3], timeout=0.6); history = opened(sys.argv[2], sink)\n"
    )
    command = [sys.executable, "-c", head + code, str(Path(__file__).parents[1]), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(10)]
        eventually(when)
        process.send_signal(signal.SIGKILL)
        printed += [line.strip() for line in process.stdout]
    return printed


def test_a_kill_between_store_and_delivery_loses_nothing(url: str) -> None:
    with Receiver() as receiver:
        printed = killed("while True: print(history.store([verdict()])[0], flush=True)", url, receiver.url)
        assert receiver.taken == []
        delivered(url, WebhookSink(receiver.url))
        assert [int(number) for number in printed] == receiver.taken[: len(printed)]
        assert len(receiver.taken) - len(printed) <= 1  # the last may be stored and not yet printed


def test_a_kill_while_delivering_loses_nothing(url: str) -> None:
    code = (
        "numbers = history.store([verdict() for _ in range(300)])\n"
        "courier = Courier(history, [sink], HASTY); courier.__enter__()\n"
        "print('stored\\n' * 10, flush=True); time.sleep(60)"
    )
    with Receiver() as receiver:
        killed(code, url, receiver.url, when=lambda: len(receiver.taken) >= 5)
        assert len(receiver.taken) < 300
        delivered(url, WebhookSink(receiver.url))  # once the killed one's lease is over
        assert first_of_each(receiver.taken) == list(range(1, 301))


def test_of_two_couriers_one_delivers(url: str) -> None:
    one, other = Listener(), Listener()
    alone = replace(HASTY, lease=60)
    with opened(url, one) as history, Courier(history, [one], alone), Courier(history, [other], alone):
        numbers = [history.store([verdict()])[0] for _ in range(100)]
        eventually(lambda: history.waiting() == [])
    assert sorted(delivery.verdict_id for delivery in one.taken + other.taken) == numbers
    assert [] in (one.taken, other.taken)


# --- what waits


def test_what_waits_outlives_a_prune_and_can_be_given_up(
    url: str, clipada: Callable[..., tuple[int, str, str]]
) -> None:
    sink = Listener(failing=10**9)
    with opened(url, sink) as history:
        history.store([verdict(days_old=40) for _ in range(3)])
        Courier(history, [sink], HASTY).close(flush=True)
        assert history.prune(datetime.now(UTC) - timedelta(days=30)) == 0
    _, out, _ = clipada("history", "waiting", "--database", url)
    count, _, failures, name, error = out.strip().split("\t")
    assert (count, failures, name, error) == ("3", "1", "listener", "listener has not accepted a verdict")
    assert "1 verdicts" in clipada("history", "abandon", "listener", "--first", "--database", url)[2]
    assert "2 verdicts" in clipada("history", "abandon", "listener", "--database", url)[2]
    assert clipada("history", "waiting", "--database", url)[1] == ""
    assert "deleted 3" in clipada("history", "prune", "--days", 30, "--database", url)[2]


@given(
    first=st.floats(0.001, 1e6),
    factor=st.floats(1, 1e6),
    failures=st.integers(1, 100_000),
)
def test_waits_double_up_to_the_longest(first: float, factor: float, failures: int) -> None:
    settings = SinkConfig(first_wait=first, longest_wait=first * factor)
    waits = [settings.wait(number) for number in (*range(1, 40), failures)]
    assert waits[0] == first
    assert all(0 < wait <= settings.longest_wait for wait in waits)
    assert all(later == min(2 * wait, settings.longest_wait) for wait, later in pairwise(waits[:39]))
    assert settings.wait(failures + 1) >= settings.wait(failures)


# --- signatures, passwords, addresses


def test_a_secret_signs_what_is_posted(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"correct horse\n")
    with Receiver() as receiver:
        (sink,) = open_sinks(SinkConfig(webhook=receiver.url, secret=tmp_path / "secret"))
        delivered(url, sink, store=1)
        ((headers, body),) = receiver.requests
    assert headers[SIGNATURE] == "sha256=" + hmac.new(b"correct horse", body, hashlib.sha256).hexdigest()


def test_passwords_are_used_and_not_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Receiver(500) as receiver:
        address = receiver.url.replace("http://", "http://me:hush%21@") + "?token=hush"
        sink = WebhookSink(address)
        with opened(url, sink) as history:
            history.store([verdict()])
            Courier(history, [sink], HASTY).close(flush=True)
            printed = f"{history.waiting()} {caplog.text} {sink.name} {SinkConfig(webhook=address)}"
        delivered(url, WebhookSink(address))
        assert receiver.requests[0][0]["Authorization"] == "Basic bWU6aHVzaCE="
    assert "hush" not in printed + caplog.text
    with pytest.raises(SinkError) as caught:
        WebhookSink("ftp://me:hush@host/path")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["host/path", "http://", "http://host:port/", "file:///etc/passwd", "http://[::1", "mqtt://host/topic"]
)
def test_addresses_that_are_no_webhook_are_refused(address: str) -> None:
    with pytest.raises(SinkError, match="address"):
        WebhookSink(address)


@pytest.mark.parametrize(
    "address", ["mqtt://host", "mqtt://host/", "mqtt://host/line/%23", "mqtt:///topic", "http://h/t"]
)
def test_addresses_that_are_no_topic_are_refused(address: str) -> None:
    with pytest.raises(SinkError):
        MqttSink(address)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"timeout": 0},
        {"first_wait": 9, "longest_wait": 3},
        {"lease": 1},
        {"secret": tmp_path},
    ]
    for change in wrong:
        with pytest.raises(ConfigError, match=r"sink\."):
            SinkConfig(**change)
    (tmp_path / "empty").touch()
    for name in ("empty", "missing"):
        with pytest.raises(SinkError, match="secret"):
            open_sinks(SinkConfig(webhook="http://host/", secret=tmp_path / name))


def test_predict_tells_sinks_of_stored_verdicts(
    clipada: Callable[..., tuple[int, str, str]], finished_run: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = finished_run.parent / "products" / "disc" / "test"
    with Receiver() as receiver:
        code, out, err = clipada("predict", finished_run, parts, "--database", url, "--webhook", receiver.url)
        assert code == 0, err
        assert [json.loads(body)["path"] for _, body in receiver.requests] == [
            json.loads(line)["path"] for line in out.splitlines()
        ]
    code, _, err = clipada("predict", finished_run, parts, "--webhook", receiver.url)
    assert code == 2
    assert "--database" in err
    assert clipada("predict", finished_run, parts, "--database", url, "--webhook", receiver.url)[0] == 0
    assert "4 verdicts stay queued" in caplog.text
