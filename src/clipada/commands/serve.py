"""Serve runs over HTTP until a signal stops the server."""

from __future__ import annotations

import asyncio
import errno
import re
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Unpack

import uvicorn
from fastapi import FastAPI

from clipada.config import EngineKeywords, HistoryConfig, ServeConfig, SinkConfig
from clipada.errors import ConfigError
from clipada.history.recorder import Recorder
from clipada.inspection import Inspector
from clipada.runs import read_run
from clipada.server.app import create_app
from clipada.server.connections import bounded, log_accept_errors_once, most_connections
from clipada.server.service import Service
from clipada.types import ignored

KEEP_ALIVE_SECONDS = 30

ACCEPTED_AT_ONCE = 64
"""Connections that the event loop accepts in one step: fewer than the files that the limit of connections leaves."""

WAITING_CONNECTIONS = 2048
"""Connections that the operating system lets wait until they are accepted."""

_NAME = re.compile(r"[\w.-]+")


def serve(
    runs: Sequence[str],
    settings: ServeConfig | None = None,
    *,
    history: HistoryConfig | None = None,
    sinks: SinkConfig | None = None,
    token: str | None = None,
    say: Callable[[str], None] = ignored,
    **engine: Unpack[EngineKeywords],
) -> None:
    """Serve runs until SIGTERM or SIGINT; images accepted by then are inspected, stored and answered.

    Args:
        runs: Run folders, each ``NAME=FOLDER`` or ``FOLDER``, whose model is named after the folder.
        settings: Address, limits and waiting times.
        history: Database of the verdicts, and which images to keep.
        sinks: Further receivers of the verdicts.
        token: The token that callers must send; ``None`` accepts every caller.
        say: Called with the server's address, once it listens.
        engine: As for ``EngineKeywords``.

    Raises:
        ConfigError: A name is invalid, two runs have the same name, or the server cannot listen on the address.
        RunError: A folder contains no run.
        HistoryError: The history cannot be used.
        SinkError: A sink's address or secret cannot be used.
    """
    settings = settings or ServeConfig()
    found = {name: read_run(folder) for name, folder in named_runs(runs).items()}  # before any file is written
    with Recorder(None, history, sinks) as recorder, _listening(settings) as listener:
        models = {name: Inspector.load(run, input_check=settings.input_check, **engine) for name, run in found.items()}
        app = create_app(models, settings, recorder.history, token=token)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _run(app, settings, listener, lambda: say(f"serving {', '.join(models)} on {address}"))
        recorder.finish(flush=False)


def _run(app: FastAPI, settings: ServeConfig, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve an application on a socket until a signal stops it; announce it once it listens and can be stopped."""
    most = most_connections()
    config = uvicorn.Config(
        app,
        http=bounded(most, settings.upload_seconds),
        loop="asyncio",
        backlog=min(ACCEPTED_AT_ONCE, max(1, most // 8)),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
    )
    _Server(config, app.state.service, announce).run(sockets=[listener])


def named_runs(runs: Sequence[str]) -> dict[str, Path]:
    """Return run folders by name, from ``NAME=FOLDER``, or ``FOLDER`` with its own name."""
    folders: dict[str, Path] = {}
    for text in runs:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).exists():
            name, folder = Path(text).resolve().name, text
        if not _NAME.fullmatch(name):
            expected = "letters, digits, dots, dashes and underscores"
            raise ConfigError(f"{name!r} cannot name a model", expected=expected, remedy="pass NAME=RUN")
        if name in folders:
            raise ConfigError(f"two models are named {name}", remedy="pass NAME=RUN for one of them")
        folders[name] = Path(folder)
    return folders


class _Server(uvicorn.Server):
    """A server that reports at once that it is stopping, and exits with status 0 instead of by the signal."""

    def __init__(self, config: uvicorn.Config, service: Service, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        log_accept_errors_once(asyncio.get_running_loop())
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING_CONNECTIONS)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start a graceful stop on a signal."""
        self._service.stopping = True
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


def _listening(settings: ServeConfig) -> socket.socket:
    what = f"cannot listen on {settings.host}, port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        expected = "a name or an address of this machine"
        raise ConfigError(what, expected=expected, got=str(error), remedy="choose another --host") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise ConfigError(what, got=error.strerror, remedy=_REMEDIES.get(error.errno or 0)) from error
    return listener


_REMEDIES = {
    errno.EADDRINUSE: "choose another --port",
    errno.EACCES: "choose a --port of 1024 or more",
    errno.EADDRNOTAVAIL: "choose another --host: an address of this machine, or 0.0.0.0 for all of them",
}
