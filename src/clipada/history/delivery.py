"""Delivery of stored verdicts to sinks: in order, at least once, retried until each sink has accepted them."""

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

CHUNK = 50
"""Deliveries read from the database at a time."""


class Courier:
    """Delivers verdicts to each sink in a thread of its own; inspection never waits for a sink.

    All of its state is in the history: a delivery is deleted when its sink has accepted it, so that after a kill the
    next courier continues where this one stopped. If several couriers share a history, one at a time delivers to a
    sink: it holds a lease, which it renews with each delivery.

    Args:
        history: The history whose ``store`` queues the verdicts.
        sinks: Receivers of the verdicts; closed with the courier.
        settings: Timeouts, waiting times and the lease.
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
            thread = threading.Thread(target=self._run, args=(sink,), name=f"clipada-{sink.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, flush: bool = False) -> None:
        """Stop after the current delivery.

        Args:
            flush: First deliver what waits, until a sink fails. The rest stays queued for the next courier.
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

    def _run(self, sink: Sink) -> None:
        """Deliver to a sink until the courier is closed: the body of a thread."""
        failures = 0
        while not self._stopped.is_set():
            try:
                found = self._deliver_some(sink, self._stopped)
                if found and failures:
                    failures = self._recovered(sink)
                pause = 0.0 if found else self.settings.poll
            except Exception as error:  # the thread must survive any error of a network or a database
                failures += 1
                self._failed(sink, failures, error)
                pause = self.settings.wait(failures)
            self._stopped.wait(pause)

    def _deliver_some(self, sink: Sink, stopped: threading.Event | None = None) -> bool:
        """Deliver up to ``CHUNK`` queued verdicts; return False if there were none that this courier may deliver."""
        with self.history.transaction() as connection:  # an idle courier only reads, and takes no lease
            if not outbox.queued(connection, sink.name, 1):
                return False
        with self.history.transaction() as connection:
            if not self._claim(connection, sink):
                return False
            waiting = outbox.queued(
                connection, sink.name, CHUNK
            )  # read under the lease: another courier may have delivered some
        for delivery in waiting:
            # A kill between these two steps sends the verdict again, under the same name: at least once, not at most.
            sink.deliver(delivery)
            with self.history.transaction() as connection:
                outbox.remove(connection, delivery)
                ours = self._claim(connection, sink)
            if not ours or (stopped is not None and stopped.is_set()):
                break
        return True

    def _flush(self, sink: Sink) -> None:
        try:
            while self._deliver_some(sink):
                pass
        except Exception as error:  # as in _run
            self._failed(sink, 1, error)

    def _release(self, sink: Sink) -> None:
        """Give up the lease, so that another courier can deliver to the sink without waiting for its end."""
        try:
            with self.history.transaction() as connection:
                outbox.release(connection, sink.name, self._owner)
        except HistoryError as error:
            log.debug("%s", error)

    def _claim(self, connection: Connection, sink: Sink) -> bool:
        """Take or renew the lease on the sink; return False if another courier holds it."""
        now = time.time()
        return outbox.claim(connection, sink.name, self._owner, now, now + self.settings.lease)

    def _failed(self, sink: Sink, failures: int, error: Exception) -> None:
        """Record the error of an attempt, and log the first one in a row."""
        if failures == 1:
            log.warning("verdicts stay queued in the history, nothing is lost: %s", error)
        self._record(sink, failures, str(error))

    def _recovered(self, sink: Sink) -> int:
        """Log that a sink accepts verdicts again; return its number of failures, 0."""
        log.warning("%s accepts verdicts again", sink.name)
        self._record(sink, 0, None)
        return 0

    def _record(self, sink: Sink, failures: int, error: str | None) -> None:
        try:
            with self.history.transaction() as connection:
                outbox.record_attempt(connection, sink.name, failures, error)
        except HistoryError as unreachable:
            log.debug("%s", unreachable)
