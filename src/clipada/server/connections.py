"""Connections of the server: bounded in number, and cut if a request arrives, or an answer is read, too slowly."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ModuleNotFoundError:  # pragma: no cover - Windows has none
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

MOST_FILES = 16_384
"""Number of open files that the server asks the operating system for."""

EVICT_AFTER = 1.0
"""Seconds for which a connection without a request stays open for certain, if there are too many."""

GRACE_SECONDS = 5.0
"""Seconds that a request has more than its route gives it: the route's own answer, 408, is better than none."""

LOG_SECONDS = 60.0
"""Shortest time between two log lines on refused connections."""

_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class RareLog:
    """Logs a warning at most once in ``LOG_SECONDS``, with the number of events since the last one."""

    def __init__(self) -> None:
        self._last, self._count = 0.0, 0

    def warn(self, message: str) -> None:
        """Count an event, and log it unless a line was logged shortly before."""
        self._count += 1
        now = time.monotonic()
        if self._last == 0.0 or now - self._last >= LOG_SECONDS:
            log.warning("%s (%d times since the last such line)", message, self._count)
            self._last, self._count = now, 0


class BoundedConnection(H11Protocol):
    """A connection of uvicorn with limits; ``bounded`` returns a subclass that has them.

    A new connection that exceeds the limit takes the place of the one that has had no request for longest. If all have
    one, the new connection is refused with 503.

    Attributes:
        most: Largest number of connections.
        seconds: Time for the head of a request to arrive, for its body, and for a caller to read on in its answer.
        limit_log: Logs refused connections.
    """

    most: ClassVar[int]
    seconds: ClassVar[float]
    limit_log: ClassVar[RareLog]
    _timer: asyncio.TimerHandle | None = None
    _timed: object = None
    _idle_since = 0.0

    @property
    def idle(self) -> bool:
        """True while there is no request, or only a part of its head."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first request; at the limit, close one connection."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._arm(self.seconds)
        if len(self.connections) > self.most:
            self.limit_log.warn(f"a connection was closed: at most {self.most} are open at once")
            self._longest_idle()._end(_REFUSAL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Limit the time for the rest of the request that these bytes belong to."""
        super().data_received(data)
        if self.idle:
            self._arm(self.seconds)
        else:
            self._time_body()

    def on_response_complete(self) -> None:
        """Stop the timer of the request: uvicorn's own closes a connection that stays without another one.

        That one waits until the caller has read the whole answer, so this gets a limit as well.
        """
        self._idle_since = self.loop.time()
        self._disarm()
        super().on_response_complete()
        if self.flow.write_paused:
            self._arm(self.seconds)
        elif not self.idle:  # the caller has sent the next request already
            self._time_body()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request; if it is malformed after its answer has begun, only close the connection."""
        if not self.idle:
            self.cycle.disconnected = True  # the route must not answer on a connection that has failed
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Limit the time for which a caller reads nothing of its answer."""
        super().pause_writing()
        self._arm(self.seconds)

    def resume_writing(self) -> None:
        """Stop that limit."""
        super().resume_writing()
        self._disarm()

    def _longest_idle(self) -> BoundedConnection:
        """Return the connection that was idle for longest, if for more than ``EVICT_AFTER``; else this one."""
        limit = self.loop.time() - EVICT_AFTER
        others = cast("set[BoundedConnection]", self.connections)
        idle = [one for one in others if one.idle and one._idle_since < limit and not one.transport.is_closing()]
        return min(idle, key=lambda one: one._idle_since, default=self)

    def _time_body(self) -> None:
        """Limit the time for the body of the request, from its head on."""
        if not self.cycle.more_body:
            self._disarm()
        elif self._timed is not self.cycle:
            self._timed = self.cycle
            self._disarm()
            self._arm(self.seconds + GRACE_SECONDS)

    def _arm(self, seconds: float) -> None:
        """Close the connection after a time, unless a timer is running already."""
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._end(_TOO_SLOW if self.idle else b"")

    def _end(self, answer: bytes) -> None:
        """Close the connection, with an answer that needs no request; at once if the caller does not read."""
        if self.flow.write_paused:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def bounded(most: int, seconds: float) -> type[BoundedConnection]:
    """Return a protocol class for uvicorn with these limits."""
    return type("Bounded", (BoundedConnection,), {"most": most, "seconds": seconds, "limit_log": RareLog()})


def most_connections() -> int:
    """Raise the limit of open files where that is allowed; return a number of connections that leaves half of them."""
    if resource is None:  # pragma: no cover - Windows
        return MOST_FILES // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MOST_FILES // 2 if soft == resource.RLIM_INFINITY else max(8, min(soft, MOST_FILES) // 2)


def log_accept_errors_once(loop: asyncio.AbstractEventLoop) -> None:
    """Log connections that cannot be accepted, for want of files or memory, in one line and not as tracebacks."""
    rare = RareLog()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            rare.warn(f"cannot accept a connection: {error.strerror}")
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
