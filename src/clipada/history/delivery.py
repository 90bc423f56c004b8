"""The courier: delivers what waits in a history to its sinks, in order, at least once, for as long as it takes."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Self

from sqlalchemy import Connection

from clipada.config import SinkConfig
from clipada.errors import HistoryError
from clipada.history import outbox
from clipada.history.sinks import Sink
from clipada.history.store import History

log = logging.getLogger(__name__)

AT_ONCE = 50
"""Deliveries that are read from the database at a time."""


class Courier:
    """Delivers to each sink by a thread of its own; inspection never waits for it.

    All that it knows is in the history: a delivery is struck out when its sink has taken it, so that after a kill the
    next courier goes on where this one was. Of several couriers of one history, one at a time delivers to a sink.

    Args:
        history: Where verdicts are queued, by ``History.store``.
        sinks: Who is told; closed with the courier.
        settings: How patiently.
    """

    def __init__(self, history: History, sinks: Sequence[Sink], settings: SinkConfig | None = None) -> None:
        self.history = history
        self.sinks = tuple(sinks)
        self.settings = settings or SinkConfig()
        self._owner = uuid.uuid4().hex
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for sink in self.sinks:
            thread = threading.Thread(target=self._deliver_on, args=(sink,), name=f"clipada-{sink.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, flush: bool = False) -> None:
        """Stop after the delivery in hand.

        Args:
            flush: Whether to deliver what waits first, until a sink fails once more; the rest waits for a later day.
        """
        if self._stopped.is_set():
            return
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for sink in self.sinks:
            if flush:
                self._flush(sink)
            self._release(sink)
            sink.close()

    def _deliver_on(self, sink: Sink) -> None:
        """What a sink's thread does."""
        failures = 0
        while not self._stopped.is_set():
            try:
                found = self._deliver_some(sink, self._stopped)
                if found and failures:
                    failures = self._recovered(sink)
                pause = 0.0 if found else self.settings.poll
            except Exception as error:  # whatever a network or a database brings, the thread must go on
                failures += 1
                self._failed(sink, failures, error)
                pause = self.settings.wait(failures)
            self._stopped.wait(pause)

    def _deliver_some(self, sink: Sink, stopped: threading.Event | None = None) -> bool:
        """Deliver a few of what waits for a sink; whether there was anything that this courier may deliver."""
        with self.history.transaction() as connection:
            if not outbox.queued(connection, sink.name, 1):
                return False
        with self.history.transaction() as connection:
            if not self._claimed(connection, sink):
                return False
            waiting = outbox.queued(connection, sink.name, AT_ONCE)  # without what another courier did meanwhile
        for delivery in waiting:
            sink.deliver(delivery)
            with self.history.transaction() as connection:
                outbox.delivered(connection, delivery)
                ours = self._claimed(connection, sink)
            if not ours or (stopped is not None and stopped.is_set()):
                break
        return True

    def _flush(self, sink: Sink) -> None:
        try:
            while self._deliver_some(sink):
                pass
        except Exception as error:  # as above
            self._failed(sink, 1, error)

    def _release(self, sink: Sink) -> None:
        """Let another courier deliver to the sink at once."""
        try:
            with self.history.transaction() as connection:
                outbox.release(connection, sink.name, self._owner)
        except HistoryError as error:
            log.debug("%s", error)

    def _claimed(self, connection: Connection, sink: Sink) -> bool:
        """Whether this courier alone delivers to the sink, from now on for the time of a lease."""
        now = time.time()
        return outbox.claim(connection, sink.name, self._owner, now, now + self.settings.lease)

    def _failed(self, sink: Sink, failures: int, error: Exception) -> None:
        """Keep why an attempt failed, and say so once."""
        if failures == 1:
            log.warning("verdicts wait in the history, nothing is lost: %s", error)
        self._record(sink, failures, str(error))

    def _recovered(self, sink: Sink) -> int:
        """Say that a sink takes verdicts again; return its number of failures, 0."""
        log.warning("%s takes verdicts again", sink.name)
        self._record(sink, 0, None)
        return 0

    def _record(self, sink: Sink, failures: int, error: str | None) -> None:
        try:
            with self.history.transaction() as connection:
                outbox.record_outcome(connection, sink.name, failures, error)
        except HistoryError as unreachable:
            log.debug("%s", unreachable)
