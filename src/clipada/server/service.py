"""What every route works with: the models, the history, the metrics, and the room for requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from clipada.config import ServeConfig
from clipada.history.store import History
from clipada.server.errors import RefusedError
from clipada.server.metrics import ServerMetrics
from clipada.server.served_model import ServedModel


@dataclass(kw_only=True)
class Service:
    """An application's state.

    Attributes:
        models: By name.
        settings: What is taken, how much of it.
        history: Where verdicts go.
        metrics: Where things are counted.
        started: When, in seconds of ``time.time``.
        held_bytes: What requests hold at present.
        stopping: Whether the server was told to stop.
    """

    models: Mapping[str, ServedModel]
    settings: ServeConfig
    history: History
    metrics: ServerMetrics
    started: float = field(default_factory=time.time)
    held_bytes: int = 0
    stopping: bool = False

    def model(self, name: str | None) -> ServedModel:
        """The model of a name; without a name, the only one.

        Raises:
            RefusedError: There is none of that name (404), or several and no name (422).
        """
        names = ", ".join(self.models)
        if name is None and len(self.models) > 1:
            raise RefusedError(422, "which model is to inspect?", expected=f"?model= one of {names}", got="none")
        if name is not None and name not in self.models:
            raise RefusedError(404, "there is no such model", expected=names, got=name[:200])
        return next(iter(self.models.values())) if name is None else self.models[name]

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Hold so many bytes of requests. Only the event loop counts them.

        Raises:
            RefusedError: Requests hold too much already (429).
        """
        if self.held_bytes + count > self.settings.waiting_bytes:
            raise RefusedError(
                429,
                "too much is waiting",
                expected=f"at most {self.settings.waiting_bytes:,} bytes in all requests together",
                got=f"{self.held_bytes:,} bytes, {count:,} more",
                remedy="send it again after the time in Retry-After",
                retry_after=1,
            )
        self.held_bytes += count
        try:
            yield
        finally:
            self.held_bytes -= count


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_service)]
"""The application's state, as a route asks for it."""
