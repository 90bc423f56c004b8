"""Sinks: receivers of each stored verdict. A webhook, or a topic of an MQTT broker."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from clipada.config import SinkConfig
from clipada.errors import SinkError
from clipada.history.outbox import Delivery

if TYPE_CHECKING:
    from paho.mqtt.client import Client

SIGNATURE = "X-Clipada-Signature"
"""The header with ``sha256=`` and the HMAC-SHA256 of the body in hex, where there is a secret."""


class Sink(Protocol):
    """A receiver of verdicts, one at a time.

    Attributes:
        name: Name of its queue: its address, without user, password and query.
    """

    name: str

    def deliver(self, delivery: Delivery) -> None:
        """Send a verdict; return once it was accepted.

        Raises:
            SinkError: It was not accepted.
        """

    def close(self) -> None:
        """Close connections."""


class WebhookSink:
    """Posts verdicts as JSON. Any 2xx status means that a verdict was accepted; a redirection does not.

    Each request has the header ``Idempotency-Key``, the same at every attempt: if a response is lost, the verdict is
    sent again, and the receiver can drop the duplicate.

    Args:
        url: ``http://`` or ``https://``.
        secret: Key of the body's signature.
        timeout: Seconds to wait for a response.

    Raises:
        SinkError: The URL has another scheme.
    """

    def __init__(self, url: str, secret: bytes | None = None, timeout: float = SinkConfig.timeout) -> None:
        import httpx

        parts = _split(url, ("http", "https"), "http://host/path or https://host/path")
        self.name = _name("webhook", parts)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._secret = secret
        user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs whole URLs, with tokens in their queries
        self._client = httpx.Client(timeout=timeout, auth=user, headers={"User-Agent": "clipada"})

    def deliver(self, delivery: Delivery) -> None:
        """Post one verdict."""
        import httpx

        body = _body(delivery)
        headers = {"Content-Type": "application/json", "Idempotency-Key": delivery.name}
        if self._secret is not None:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        try:
            response = self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise _refused(self.name, str(error) or type(error).__name__) from error
        if not response.is_success:
            raise _refused(self.name, f"HTTP {response.status_code} {response.reason_phrase}".rstrip(), "HTTP 2xx")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class MqttSink:
    """Publishes verdicts as JSON by MQTT 5, quality of service 1: the broker confirms each, or reports an error.

    Args:
        url: ``mqtt://user:password@host:port/topic``, or ``mqtts://`` for TLS.
        timeout: Seconds to wait for the broker's answer.

    Raises:
        SinkError: The URL has another scheme, or no topic to publish to.
    """

    def __init__(self, url: str, timeout: float = SinkConfig.timeout) -> None:
        import paho.mqtt.client  # noqa: F401  # if it is missing, fail at the start

        self._parts = _split(url, ("mqtt", "mqtts"), "mqtt://host/topic or mqtts://host/topic")
        self.name = _name("mqtt", self._parts)
        self._topic = unquote(self._parts.path.removeprefix("/"))
        if not self._topic or set(self._topic) & set("+#\0"):
            raise SinkError(f"cannot publish to {self.name}", expected="a topic without + and #", got=self._topic)
        self._timeout = timeout
        self._client: Client | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def deliver(self, delivery: Delivery) -> None:
        """Publish one verdict and wait until the broker has it."""
        try:
            client = self._client if self._client is not None and self._client.is_connected() else self._connect()
            client.publish(self._topic, _body(delivery), qos=1)
            self._await_answer()
        except (OSError, SinkError, queue.Empty) as error:
            self.close()  # a late answer must not be taken for that of the next delivery
            got = str(error) or f"no answer within {self._timeout:g} seconds"
            raise _refused(self.name, got) from error

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _connect(self) -> Client:
        """Connect and log in."""
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self.close()
        answers = self._answers = queue.SimpleQueue()
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False)
        client.on_connect = _answering(answers)
        client.on_publish = _answering(answers)
        client.on_disconnect = lambda *_: answers.put(None)
        client.connect_timeout = self._timeout
        if self._parts.username:
            client.username_pw_set(unquote(self._parts.username), unquote(self._parts.password or ""))
        if self._parts.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        port = self._parts.port or (8883 if self._parts.scheme == "mqtts" else 1883)
        client.connect(self._parts.hostname or "", port)
        client.loop_start()
        self._client = client
        self._await_answer()
        return client

    def _await_answer(self) -> None:
        """Wait for the broker's next answer; raise if it is an error or the connection was closed."""
        reason = self._answers.get(timeout=self._timeout)
        if reason is None:
            raise SinkError("the connection was closed")
        if reason.is_failure:
            raise SinkError(str(reason))


def open_sinks(settings: SinkConfig) -> tuple[Sink, ...]:
    """Create the sinks of the settings; connections are opened at the first delivery.

    Raises:
        SinkError: An address cannot be used, or the secret's file cannot be read or is empty.
    """
    sinks: list[Sink] = []
    if settings.webhook is not None:
        secret = None if settings.secret is None else _read_secret(settings.secret)
        sinks.append(WebhookSink(settings.webhook, secret, settings.timeout))
    if settings.mqtt is not None:
        sinks.append(MqttSink(settings.mqtt, settings.timeout))
    return tuple(sinks)


def _answering(answers: queue.SimpleQueue[Any]) -> Callable[..., None]:
    """Return a callback for paho-mqtt: ``(client, userdata, flags or id, reason, properties)``."""
    return lambda _client, _userdata, _what, reason, *_: answers.put(reason)


def _body(delivery: Delivery) -> bytes:
    return json.dumps(delivery.content).encode()


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SinkError(f"cannot read the secret in {path}", expected="a file", got=error.strerror) from error
    if not secret:
        raise SinkError(f"cannot read the secret in {path}", expected="a few random words", got="an empty file")
    return secret


def _split(url: str, schemes: tuple[str, ...], expected: str) -> SplitResult:
    """Split a URL of one of the schemes; errors do not quote it, since it may contain a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not usable:
        raise SinkError("cannot use the address of the sink", expected=expected, got="another kind of address")
    return parts


def _name(kind: str, parts: SplitResult) -> str:
    """Return a sink's name: its address without user, password and query, so that these can change."""
    netloc = parts.netloc.rpartition("@")[2]
    return f"{kind} {parts.scheme}://{netloc}{parts.path}"[:255]


def _refused(name: str, got: str, expected: str | None = None) -> SinkError:
    return SinkError(f"{name} has not accepted a verdict", expected=expected, got=got)
