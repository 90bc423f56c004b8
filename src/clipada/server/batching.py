"""One queue and one worker thread for each model: queued images are inspected in batches, stored, and then answered."""

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
"""Seconds between two calls of ``BatchHandler.refresh`` while the queue is empty."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result for an image: its verdict, and the verdict's id in the history, ``None`` if it was not stored."""

    verdict: Verdict
    id: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class QueuedImage:
    """An accepted image.

    Attributes:
        content: The bytes of the file.
        pixels: Number of pixels, from the file's header.
        name: The name that the caller gave it.
        group: The group whose thresholds apply.
        store: True if the verdict goes into the history.
        future: Receives the answer or the error.
    """

    content: bytes = field(repr=False)
    pixels: int
    name: str | None = None
    group: str | None = None
    store: bool = True
    future: Future[Answer] = field(default_factory=Future)


class BatchHandler(Protocol):
    """The work of a worker thread."""

    def prepare(self) -> None:
        """Get ready for the first batch."""

    def refresh(self) -> None:
        """Check for changes, before each batch and when idle."""

    def process(self, images: Sequence[QueuedImage]) -> Sequence[Answer | ClipAdaError]:
        """Process a batch; return one outcome for each image. Outcomes are sent, so verdicts must be stored by then."""


class Reservation:
    """Slots of a queue, held by a request until its images take them or the request ends."""

    def __init__(self, batcher: Batcher, count: int) -> None:
        self._batcher = batcher
        self.count = count

    def extend(self, count: int) -> None:
        """Reserve ``count`` more slots.

        Raises:
            RefusedError: The queue has fewer free slots.
        """
        self._batcher.reserve(count)
        self.count += count

    def submit(self, image: QueuedImage) -> Future[Answer]:
        """Queue an image in one of the slots."""
        self._batcher.put(image)
        self.count -= 1
        return image.future


class Batcher:
    """A bounded queue and the thread that processes it.

    Args:
        handler: Processes the batches.
        settings: Length of the queue, size of a batch, and the time to wait for a batch to fill.
        name: The model's name.
    """

    def __init__(self, handler: BatchHandler, settings: ServeConfig, name: str) -> None:
        self._handler = handler
        self._settings = settings
        self.name = name
        self._changed = threading.Condition()
        self._waiting: deque[QueuedImage] = deque()
        self._reserved = 0
        self._closing = False
        self._seconds_each = 0.1
        self._prepared = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"clipada-{name}", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while the worker runs."""
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """True while images are accepted."""
        return self.alive and self._prepared.is_set() and not self._closing

    @property
    def depth(self) -> int:
        """Number of reserved slots: of queued images and of images on their way in."""
        return self._reserved

    @contextmanager
    def reservation(self, count: int = 1) -> Iterator[Reservation]:
        """Reserve slots for the images of a request before its body is read.

        A full queue is then reported at once, and no accepted upload is refused after it was transferred.

        Raises:
            RefusedError: The queue is full (429), or the server is stopping or its worker has ended (503).
        """
        self.reserve(count)
        held = Reservation(self, count)
        try:
            yield held
        finally:
            with self._changed:
                self._reserved -= held.count

    def reserve(self, count: int) -> None:
        """Reserve slots, or raise a ``RefusedError``."""
        with self._changed:
            if self._closing or not self.alive:
                raise RefusedError(503, f"model {self.name} accepts no images: the server is stopping", retry_after=5)
            if self._reserved + count > self._settings.queue_length:
                raise RefusedError(
                    429,
                    f"the queue of model {self.name} is full",
                    expected=f"at most {self._settings.queue_length} images waiting",
                    got=f"{self._reserved} waiting, {count} more",
                    remedy="send it again after the time in Retry-After",
                    retry_after=min(60, max(1, round(self._reserved * self._seconds_each))),
                )
            self._reserved += count

    def put(self, image: QueuedImage) -> None:
        """Queue an image that has a reserved slot."""
        with self._changed:
            if self._closing:
                raise RefusedError(503, f"model {self.name} accepts no images: the server is stopping", retry_after=5)
            self._waiting.append(image)
            self._changed.notify()

    def close(self) -> None:
        """Accept no more images, and return when the queued ones are processed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        self._handler.prepare()
        self._prepared.set()
        while (batch := self._next_batch()) is not None:
            self._handler.refresh()
            # A request that gave up has canceled its future: skip its image, and mark the others as running, so that
            # they can no longer be canceled.
            batch = [image for image in batch if image.future.set_running_or_notify_cancel()]
            if batch:
                self._process(batch)

    def _next_batch(self) -> list[QueuedImage] | None:
        """Wait for images and return up to a batch of them; ``[]`` after an idle period, ``None`` when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, IDLE_SECONDS)
            if not self._waiting:
                return None if self._closing else []
            full = self._settings.max_batch
            self._changed.wait_for(lambda: len(self._waiting) >= full or self._closing, self._settings.wait_ms / 1000)
            batch = [self._waiting.popleft()]
            pixels = batch[0].pixels
            # Originals are decoded at their own size, so their pixels, not their number, bound the memory of a batch.
            while self._waiting and len(batch) < full:
                pixels += self._waiting[0].pixels
                if pixels > self._settings.max_pixels:
                    break
                batch.append(self._waiting.popleft())
            self._reserved -= len(batch)
            return batch

    def _process(self, batch: list[QueuedImage]) -> None:
        """Process a batch and send every image its outcome, also after an error."""
        started = time.perf_counter()
        outcomes: Sequence[Answer | BaseException]
        try:
            outcomes = self._handler.process(batch)
        except ClipAdaError as error:  # each image of the batch receives it
            outcomes = [error] * len(batch)
        except OSError as error:
            log.error("model %s failed on %d images: %s", self.name, len(batch), error)
            outcomes = [error] * len(batch)
        except Exception as error:  # the worker must survive any error
            log.exception("model %s failed on %d images", self.name, len(batch))
            outcomes = [error] * len(batch)
        for image, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Answer):
                image.future.set_result(outcome)
            else:
                image.future.set_exception(outcome)
        each = (time.perf_counter() - started) / len(batch)
        self._seconds_each += 0.1 * (each - self._seconds_each)  # moving average, for Retry-After
