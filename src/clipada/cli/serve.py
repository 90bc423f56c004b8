"""The command ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import InputCheck, Mqtt, Secret, Webhook, takes_engine_options
from clipada.cli.terminal import say
from clipada.config import EngineOptions, HistoryConfig, InputCheckConfig, Keep, ServeConfig, SinkConfig

TOKEN = "serve.token"  # noqa: S105 - the name of a file
"""File of a created token, in the user's settings folder."""


@takes_engine_options
def serve(
    runs: Annotated[
        list[str], typer.Argument(metavar="[NAME=]RUN...", help="Run folders; a model is named after its folder.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = ServeConfig.host,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = ServeConfig.port,
    database: Annotated[str, typer.Option(metavar="URL", help="Database of the verdicts.")] = HistoryConfig.database,
    keep_images: Annotated[Keep, typer.Option(help="Which images to keep, in clipada-images.")] = HistoryConfig.keep,
    token: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token that callers must send; by default one is created."),
    ] = None,
    auth: Annotated[
        bool | None,
        typer.Option("--auth/--no-auth", help="Require the token; by default if other machines can call."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Allow pages of this web origin to call; may be repeated."),
    ] = None,
    queue_length: Annotated[
        int, typer.Option(help="Images per model that may wait; more get 429.")
    ] = ServeConfig.queue_length,
    max_batch: Annotated[int, typer.Option(help="Most images per forward pass.")] = ServeConfig.max_batch,
    wait_ms: Annotated[float, typer.Option(help="Milliseconds to wait for a batch to fill.")] = ServeConfig.wait_ms,
    upload_bytes: Annotated[
        int, typer.Option(help="Bytes of the largest request with one image.")
    ] = ServeConfig.upload_bytes,
    batch_images: Annotated[int, typer.Option(help="Most images in one request.")] = ServeConfig.batch_images,
    batch_bytes: Annotated[
        int, typer.Option(help="Bytes of the largest request with several.")
    ] = ServeConfig.batch_bytes,
    waiting_bytes: Annotated[int, typer.Option(help="Bytes of all requests together.")] = ServeConfig.waiting_bytes,
    max_pixels: Annotated[int, typer.Option(help="Pixels of the largest image.")] = ServeConfig.max_pixels,
    upload_seconds: Annotated[float, typer.Option(help="Time for a request to arrive.")] = ServeConfig.upload_seconds,
    answer_seconds: Annotated[float, typer.Option(help="Time an image may wait.")] = ServeConfig.answer_seconds,
    stop_seconds: Annotated[
        float, typer.Option(help="Time to answer accepted images when stopping.")
    ] = ServeConfig.stop_seconds,
    input_check: InputCheck = InputCheckConfig.rate,
    webhook: Webhook = None,
    webhook_secret: Secret = None,
    mqtt: Mqtt = None,
    *,
    engine: EngineOptions,
) -> None:
    """Inspect images sent by HTTP; every verdict is stored in the database before it is sent."""
    from clipada.commands import serve as command

    settings = ServeConfig(
        host=host,
        port=port,
        allow_origins=tuple(allow_origin or ()),
        queue_length=queue_length,
        max_batch=max_batch,
        wait_ms=wait_ms,
        upload_bytes=upload_bytes,
        batch_images=batch_images,
        batch_bytes=batch_bytes,
        waiting_bytes=waiting_bytes,
        max_pixels=max_pixels,
        upload_seconds=upload_seconds,
        answer_seconds=answer_seconds,
        stop_seconds=stop_seconds,
        input_check=InputCheckConfig(rate=input_check),
    )
    command.serve(
        runs,
        settings,
        history=HistoryConfig(database=database, keep=keep_images),
        sinks=SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt),
        token=_token(token, not settings.loopback if auth is None else auth),
        engine=engine,
        say=say,
    )


def _token(path: Path | None, wanted: bool) -> str | None:
    """Return the token that callers must send: that of the file, else a created one."""
    from clipada.server.tokens import ensure_token, read_token

    if path is not None:
        return read_token(path)
    if not wanted:
        return None
    path = Path(typer.get_app_dir("clipada")) / TOKEN
    token = ensure_token(path)
    say(f"callers must send the token in {path}: Authorization: Bearer TOKEN")
    return token
