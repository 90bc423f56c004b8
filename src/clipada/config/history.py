"""Settings of an inspection that runs beside a line: which folder it follows, and who is told its verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class SinkConfig:
    """Who is told each verdict beside the history, and how patiently. Nothing is lost while nobody listens."""

    webhook: str | None = field(default=None, repr=False)
    """An ``http://`` or ``https://`` URL that each verdict is posted to as JSON; ``user:password@`` signs in."""

    secret: Path | None = None
    """A file whose content, white space around it left out, signs what is posted (HMAC-SHA256)."""

    mqtt: str | None = field(default=None, repr=False)
    """``mqtt://user:password@host:port/topic``, or ``mqtts://`` for TLS: the topic that each verdict is published to,
    by MQTT 5 with quality of service 1. The port is 1883, by TLS 8883, unless it is named."""

    timeout: float = 10.0
    """Seconds to wait for a sink's answer."""

    first_wait: float = 1.0
    """Seconds from a failed delivery to the next attempt; each further one in a row doubles them."""

    longest_wait: float = 60.0
    """Seconds that are waited at most."""

    poll: float = 0.25
    """Seconds between two looks for new verdicts to deliver."""

    lease: float = 45.0
    """Seconds for which a process alone delivers to a sink; after a kill, another one takes over so much later."""

    def __post_init__(self) -> None:
        for name in ("timeout", "first_wait", "poll"):
            require(getattr(self, name) > 0, f"sink.{name}", "more than 0 seconds", getattr(self, name))
        require(self.longest_wait >= self.first_wait, "sink.longest_wait", "first_wait or more", self.longest_wait)
        require(self.lease > 3 * self.timeout, "sink.lease", "more than three timeouts", self.lease)
        require(self.secret is None or self.webhook is not None, "sink.secret", "a webhook to sign for", None)

    @property
    def any(self) -> bool:
        """Whether there is a sink."""
        return self.webhook is not None or self.mqtt is not None

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failed attempts in a row, from 1."""
        return min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 1000))


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """How a folder is followed."""

    settle: float = 2.0
    """A file is complete when its size and time stayed the same for so many seconds. ``0`` takes it as soon as it is
    seen, for cameras that write elsewhere and rename."""

    poll: float = 0.5
    """Seconds between two looks at the folder."""

    backlog: int = 10_000
    """New files that are remembered while they settle; further ones wait for a later look."""

    def __post_init__(self) -> None:
        require(self.settle >= 0, "watch.settle", "0 seconds or more", self.settle)
        require(self.poll > 0, "watch.poll", "more than 0 seconds", self.poll)
        require(self.backlog >= 1, "watch.backlog", "1 or more", self.backlog)
