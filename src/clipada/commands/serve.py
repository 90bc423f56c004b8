"""Serve runs over HTTP until a signal stops the server."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from clipada.config import EngineOptions, HistoryConfig, ServeConfig, SinkConfig
from clipada.errors import ConfigError
from clipada.history.recorder import Recorder
from clipada.inspection import Inspector
from clipada.server.app import create_app
from clipada.server.service import Service

KEEP_ALIVE_SECONDS = 30

_NAME = re.compile(r"[\w.-]+")


def serve(
    runs: Sequence[str],
    settings: ServeConfig,
    storage: HistoryConfig,
    sinks: SinkConfig | None = None,
    *,
    token: str | None = None,
    engine: EngineOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve runs until SIGTERM or SIGINT; images accepted by then are inspected, stored and answered.

    Args:
        runs: Run folders, each ``NAME=FOLDER`` or ``FOLDER``, whose model is named after the folder.
        settings: Address, limits and waiting times.
        storage: Database of the verdicts, and which images to keep.
        sinks: Further receivers of the verdicts.
        token: The token that callers must send; ``None`` accepts every caller.
        engine: Engine and its options.
        say: Called with the server's address, once it listens.

    Raises:
        ConfigError: A name is invalid, or two runs have the same name.
        RunError: A folder contains no run.
        HistoryError: The history cannot be used.
        SinkError: A sink's address or secret cannot be used.
        OSError: The address cannot be resolved.
    """
    folders = named_runs(runs)
    with Recorder(None, storage, sinks) as recorder, _listening(settings) as listener:
        models = {name: Inspector.load(run, engine=engine) for name, run in folders.items()}
        app = create_app(models, settings, recorder.history, token=token)
        host, port = listener.getsockname()[:2]
        say(f"serving {', '.join(models)} on http://{f'[{host}]' if ':' in host else host}:{port}")
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
        )
        _Server(config, app.state.service).run(sockets=[listener])
        recorder.finish(flush=False)


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

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start a graceful stop on a signal."""
        self._service.stopping = True
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


def _listening(settings: ServeConfig) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {settings.host}, port {settings.port}",
            got=error.strerror,
            remedy="choose another --port",
        ) from error
    return listener
