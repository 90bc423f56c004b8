"""The inspection server as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from clipada.config import ServeConfig
from clipada.devices import package_version
from clipada.history.store import History
from clipada.inspection import Inspector
from clipada.server import routes
from clipada.server.auth import BodyLimit, OriginGate, TokenGate
from clipada.server.errors import add_error_handlers
from clipada.server.metrics import ResponseCounter, ServerMetrics
from clipada.server.served_model import ServedModel
from clipada.server.service import Service
from clipada.server.storage import StorageCheck

_ABOUT = (
    "Verdicts on images of parts. Each verdict is stored in the history before it is sent. Errors are sent as JSON: "
    "`error`, `expected`, `got`, `remedy`."
)


def create_app(
    models: Mapping[str, Inspector], settings: ServeConfig, history: History, *, token: str | None = None
) -> FastAPI:
    """Create the server of some models.

    Args:
        models: Inspectors by the names that callers use.
        settings: Limits and waiting times.
        history: Stores verdicts before they are sent; closed when the application stops.
        token: The token that callers must send; ``None`` accepts every caller.
    """
    metrics, storage = ServerMetrics(), StorageCheck(history)
    served = {name: ServedModel(name, one, settings, history, metrics, storage) for name, one in models.items()}
    service = Service(models=served, settings=settings, history=history, metrics=metrics, storage=storage)
    app = FastAPI(
        title="clipada", version=package_version(), description=_ABOUT, docs_url=None, redoc_url=None, lifespan=_life
    )
    app.state.service = service
    for part in (routes.page, routes.inspect, routes.history, routes.status):
        app.include_router(part.router)
    add_error_handlers(app)
    routes.status.show_gauges(service)
    _guard(app, settings, token)
    app.add_middleware(ResponseCounter, metrics=metrics)
    return app


def _guard(app: FastAPI, settings: ServeConfig, token: str | None) -> None:
    """Add the middleware that checks requests: the last one added sees a request first."""
    limits = {
        routes.inspect.INSPECT: (settings.upload_bytes, "--upload-bytes"),
        routes.inspect.BATCH: (settings.batch_bytes, "--batch-bytes"),
    }
    app.add_middleware(BodyLimit, limits=limits)
    if token is not None:
        app.add_middleware(TokenGate, token=token)
    if settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    hosts = frozenset({"localhost", "127.0.0.1", "::1", settings.host}) if settings.loopback else None
    app.add_middleware(OriginGate, hosts=hosts, origins=settings.allow_origins)


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """Start the workers; at shutdown, let them finish the accepted images, then close the history."""
    service: Service = app.state.service
    for served in service.models.values():
        served.batcher.start()
    yield
    for served in service.models.values():
        await run_in_threadpool(served.batcher.close)
        await run_in_threadpool(served.finish)
    service.history.close()
