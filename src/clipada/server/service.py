"""The state shared by all routes: models, history, metrics, and the memory held by requests."""

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
from clipada.server.storage import StorageCheck


@dataclass(kw_only=True)
class Service:
    """An application's state.

    Attributes:
        models: The served models by name.
        settings: Limits and waiting times.
        history: Stores the verdicts.
        metrics: Counts and latencies.
        storage: Checks that verdicts can be stored.
        started: Start of the server, in seconds of ``time.time``.
        held_bytes: Bytes that all requests hold at present.
        stopping: True once the server was asked to stop.
    """

    models: Mapping[str, ServedModel]
    settings: ServeConfig
    history: History
    metrics: ServerMetrics
    storage: StorageCheck
    started: float = field(default_factory=time.time)
    held_bytes: int = 0
    stopping: bool = False

    def model(self, name: str | None) -> ServedModel:
        """Return the model of a name; without a name, the only one.

        Raises:
            RefusedError: No model has that name (404), or there are several and no name was given (422).
        """
        names = ", ".join(self.models)
        if name is None and len(self.models) > 1:
            raise RefusedError(422, "no model was named", expected=f"?model= one of {names}", got="none")
        if name is not None and name not in self.models:
            raise RefusedError(404, "there is no such model", expected=names, got=name[:200])
        return next(iter(self.models.values())) if name is None else self.models[name]

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count ``count`` bytes as held by a request. Only the event loop calls this, so no lock is needed.

        Raises:
            RefusedError: All requests together would hold too much (429).
        """
        if self.held_bytes + count > self.settings.waiting_bytes:
            raise RefusedError(
                429,
                "too many bytes are waiting",
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
"""The application's state, as a parameter of a route."""
