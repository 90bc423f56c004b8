"""The command line: parse, call, print."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.logging import RichHandler

from clipada.cli.calibrate import calibrate
from clipada.cli.demo import demo
from clipada.cli.evaluate import evaluate
from clipada.cli.export import export
from clipada.cli.history import history_app
from clipada.cli.info import info
from clipada.cli.predict import predict
from clipada.cli.push import push
from clipada.cli.report import report
from clipada.cli.reproduce import reproduce
from clipada.cli.serve import serve
from clipada.cli.synthesize import synthesize
from clipada.cli.terminal import console, error_console
from clipada.cli.train import train
from clipada.cli.watch import watch
from clipada.errors import ClipAdaError


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"clipada {version('clipada')}")
        raise typer.Exit


app = typer.Typer(
    name="clipada",
    help="Visual inspection with one adapter over a frozen CLIP: trained on good parts, one model for all products.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


for command in (
    demo,
    synthesize,
    train,
    evaluate,
    calibrate,
    predict,
    watch,
    serve,
    report,
    export,
    push,
    info,
    reproduce,
):
    app.command()(command)
app.add_typer(history_app, name="history")

EXTRAS = {
    "huggingface_hub": "hub",
    **dict.fromkeys(("kornia", "lightning_fabric", "tensorboard", "torch", "transformers"), "train"),
    **dict.fromkeys(("nncf", "onnx", "onnxscript"), "export"),
    "openvino": "openvino",
    **dict.fromkeys(
        ("fastapi", "httpx", "paho", "prometheus_client", "python_multipart", "sqlalchemy", "uvicorn"), "serve"
    ),
    **dict.fromkeys(("pyarrow", "ray"), "cluster"),
}
"""The modules that are not always installed, and the extra of ``clipada`` that brings each."""


def _log_handler() -> logging.Handler:
    """Colours in a terminal; elsewhere, for files and journals, plain lines that are not broken."""
    if console.is_terminal or console.quiet:
        return RichHandler(console=console, show_path=False)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def main() -> None:
    """Run the command line; what the user can mend is printed without a traceback and exits with 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_log_handler()])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        error_console.print(f"error: this needs {error.name}\n  remedy: pip install 'clipada[{extra}]'", style="red")
        sys.exit(2)
    except (ClipAdaError, OSError) as error:
        error_console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)
