"""One worker for each model: what waits is taken together, worked on, stored, and only then answered."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from clipada.config import ServeConfig
from clipada.errors import ClipAdaError
from clipada.server.errors import RefusedError
from clipada.types import Verdict

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""How often a worker without work looks whether its model's calibration has changed."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of an image: its verdict, and the verdict's number in the history unless it was not to be stored."""

    verdict: Verdict
    id: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class QueuedImage:
    """An accepted image.

    Attributes:
        content: The file, as it came.
        pixels: Their number, from its header.
        name: What the sender calls it.
        group: The group whose thresholds count.
        store: Whether the verdict goes into the history.
        future: Where the answer, or the error, is told.
    """

    content: bytes = field(repr=False)
    pixels: int
    name: str | None = None
    group: str | None = None
    store: bool = True
    future: Future[Answer] = field(default_factory=Future)


class Work(Protocol):
    """What a worker does."""

    def prepare(self) -> None:
        """Get ready, before the first job."""

    def refresh(self) -> None:
        """Look for news, before each batch and when idle."""

    def work(self, jobs: Sequence[QueuedImage]) -> Sequence[Answer | ClipAdaError]:
        """Do the jobs; one outcome each. What is returned will be told: it has to be on the disk."""


class Reservation:
    """Slots in a queue that a request holds, each until an image has taken it or the request ends."""

    def __init__(self, batcher: Batcher, count: int) -> None:
        self._batcher = batcher
        self.count = count

    def more(self, count: int) -> None:
        """Hold so many more.

        Raises:
            RefusedError: There are not as many.
        """
        self._batcher.reserve(count)
        self.count += count

    def submit(self, job: QueuedImage) -> Future[Answer]:
        """Let an image take one of the places."""
        self._batcher.put(job)
        self.count -= 1
        return job.future


class Batcher:
    """A bounded queue and the thread that works on it.

    Args:
        work: What is done with the images.
        settings: Length of the queue, size of a batch, the wait for it to fill.
        name: The model's name.
    """

    def __init__(self, work: Work, settings: ServeConfig, name: str) -> None:
        self._work = work
        self._settings = settings
        self.name = name
        self._changed = threading.Condition()
        self._waiting: deque[QueuedImage] = deque()
        self._taken = 0
        self._closing = False
        self._seconds_each = 0.1
        self._prepared = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"clipada-{name}", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether images are taken."""
        return self.alive and self._prepared.is_set() and not self._closing

    @property
    def depth(self) -> int:
        """The number of places taken."""
        return self._taken

    @contextmanager
    def places(self, count: int = 1) -> Iterator[Reservation]:
        """Hold places for images that are on their way in.

        Raises:
            RefusedError: The queue is full (429), or the server stops or cannot work (503).
        """
        self.reserve(count)
        held = Reservation(self, count)
        try:
            yield held
        finally:
            with self._changed:
                self._taken -= held.count

    def reserve(self, count: int) -> None:
        """Take places, or raise a ``RefusedError``."""
        with self._changed:
            if self._closing or not self.alive:
                raise RefusedError(503, f"model {self.name} takes no images: the server stops", retry_after=5)
            if self._taken + count > self._settings.queue_length:
                raise RefusedError(
                    429,
                    f"the queue of model {self.name} is full",
                    expected=f"at most {self._settings.queue_length} images waiting",
                    got=f"{self._taken} waiting, {count} more",
                    remedy="send it again after the time in Retry-After",
                    retry_after=min(60, max(1, round(self._taken * self._seconds_each))),
                )
            self._taken += count

    def put(self, job: QueuedImage) -> None:
        """Queue an image that holds a place."""
        with self._changed:
            if self._closing:
                raise RefusedError(503, f"model {self.name} takes no images: the server stops", retry_after=5)
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Take no more, finish what waits, and return when it is done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        self._work.prepare()
        self._prepared.set()
        while (jobs := self._next()) is not None:
            self._work.refresh()
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._do(jobs)

    def _next(self) -> list[QueuedImage] | None:
        """What waits, as much as goes into a batch; nothing after a while without work; ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, IDLE_SECONDS)
            if not self._waiting:
                return None if self._closing else []
            full = self._settings.max_batch
            self._changed.wait_for(lambda: len(self._waiting) >= full or self._closing, self._settings.wait_ms / 1000)
            jobs = [self._waiting.popleft()]
            pixels = jobs[0].pixels
            while self._waiting and len(jobs) < full:
                pixels += self._waiting[0].pixels
                if pixels > self._settings.max_pixels:
                    break
                jobs.append(self._waiting.popleft())
            self._taken -= len(jobs)
            return jobs

    def _do(self, jobs: list[QueuedImage]) -> None:
        """Work on a batch and tell every one of its outcomes, whatever happens."""
        started = time.perf_counter()
        outcomes: Sequence[Answer | BaseException]
        try:
            outcomes = self._work.work(jobs)
        except Exception as error:  # the worker outlives whatever a batch meets: each of its images is told
            log.exception("model %s failed on %d images", self.name, len(jobs))
            outcomes = [error] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Answer):
                job.future.set_result(outcome)
            else:
                job.future.set_exception(outcome)
        each = (time.perf_counter() - started) / len(jobs)
        self._seconds_each += 0.1 * (each - self._seconds_each)
