"""Settings of the history: its database, its sinks, and the watched folder that feeds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from clipada.config.schema import require

Keep = Literal["none", "defective", "all"]
Word = Literal["confirmed", "rejected", "none"]
"""An operator's last feedback on a verdict; ``none``: no feedback yet."""


@dataclass(frozen=True, kw_only=True)
class HistoryConfig:
    """Database of verdicts, and the images kept with them."""

    database: str = field(default="sqlite:///history.db", repr=False)
    """A database URL as SQLAlchemy reads it: an SQLite file, ``postgresql+psycopg://user@host/name``, ..."""

    keep: Keep = "none"
    """Images kept with their verdicts; ``defective`` includes those that are not inspectable."""

    images: str = "clipada-images"
    """The folder that they are kept in, under their hashes."""

    listed: int = 20
    """Largest number of verdicts that ``clipada history list`` prints, newest first."""

    def __post_init__(self) -> None:
        require(self.keep in get_args(Keep), "keep", " | ".join(get_args(Keep)), self.keep)


@dataclass(frozen=True, kw_only=True)
class SinkConfig:
    """Sinks of the stored verdicts, and the timing of deliveries. Nothing is lost while a sink is down."""

    webhook: str | None = field(default=None, repr=False)
    """An ``http://`` or ``https://`` URL to post each verdict to as JSON, with ``user:password@`` if needed."""

    secret: Path | None = None
    """A file whose content, without surrounding white space, is the key that signs posted verdicts (HMAC-SHA256)."""

    mqtt: str | None = field(default=None, repr=False)
    """``mqtt://user:password@host:port/topic``, or ``mqtts://`` for TLS: the topic to publish each verdict to, by
    MQTT 5 with quality of service 1. The default port is 1883, with TLS 8883."""

    timeout: float = 10.0
    """Seconds to wait for a sink's answer."""

    first_wait: float = 1.0
    """Seconds from a failed delivery to the next attempt; doubled with each further failure in a row."""

    longest_wait: float = 60.0
    """Longest time between two attempts, in seconds."""

    poll: float = 0.25
    """Seconds between two checks for new verdicts to deliver."""

    lease: float = 45.0
    """Seconds for which one process alone delivers to a sink. If it is killed, another one takes over after them."""

    def __post_init__(self) -> None:
        for name in ("timeout", "first_wait", "poll"):
            require(getattr(self, name) > 0, f"sink.{name}", "more than 0 seconds", getattr(self, name))
        require(self.longest_wait >= self.first_wait, "sink.longest_wait", "first_wait or more", self.longest_wait)
        require(self.lease > 3 * self.timeout, "sink.lease", "more than three timeouts", self.lease)
        require(self.secret is None or self.webhook is not None, "sink.secret", "a webhook to sign for", None)

    @property
    def any(self) -> bool:
        """True if there is a sink."""
        return self.webhook is not None or self.mqtt is not None

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` failed attempts in a row, from 1 on."""
        return min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 1000))


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """Conditions of complete files in a watched folder, and the timing of its scans."""

    settle: float = 2.0
    """Seconds without a change of size and time after which a file is complete. ``0`` accepts a file as soon as it is
    seen, for cameras that write elsewhere and rename."""

    poll: float = 0.5
    """Seconds between two scans of the folder."""

    backlog: int = 10_000
    """Largest number of incomplete new files to track; further ones wait for a later scan."""

    def __post_init__(self) -> None:
        require(self.settle >= 0, "watch.settle", "0 seconds or more", self.settle)
        require(self.poll > 0, "watch.poll", "more than 0 seconds", self.poll)
        require(self.backlog >= 1, "watch.backlog", "1 or more", self.backlog)
