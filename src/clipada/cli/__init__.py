"""The command line: parse, call, print."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.add import add
from clipada.cli.calibrate import calibrate
from clipada.cli.compare import compare
from clipada.cli.demo import demo
from clipada.cli.errors import explain, require_threads
from clipada.cli.evaluate import evaluate
from clipada.cli.export import export
from clipada.cli.history import history_app
from clipada.cli.info import info
from clipada.cli.predict import predict
from clipada.cli.protocol import protocol
from clipada.cli.push import push
from clipada.cli.remove import remove
from clipada.cli.report import report
from clipada.cli.reproduce import reproduce
from clipada.cli.serve import serve
from clipada.cli.settings import settings
from clipada.cli.start import start
from clipada.cli.stress import stress
from clipada.cli.suggestions import SuggestingGroup
from clipada.cli.synthesize import synthesize
from clipada.cli.terminal import console, error_console, say
from clipada.cli.train import train
from clipada.cli.verify import verify
from clipada.cli.watch import watch
from clipada.devices import package_version

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""


def _print_version(asked: bool) -> None:
    if asked:
        commit = _commit()
        typer.echo(f"clipada {package_version()}" + (f" (commit {commit})" if commit else ""))
        raise typer.Exit


def _commit() -> str | None:
    """Return the commit of a clone that the package runs from; ``None`` for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or None


app = typer.Typer(
    name="clipada",
    cls=SuggestingGroup,
    help="Visual inspection that learns from good parts: one model over a frozen backbone for all products.",
    epilog="The path: `clipada start PHOTOS`, or `train`, `calibrate` and `evaluate`; then `predict` and `report`. "
    "The Tab key completes commands and options after `clipada --install-completion`.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options before a command."""


GROUPS: dict[str, dict[Callable[..., None], str]] = {
    "Learn": {
        start: "clipada start photos/ --out runs/line3",
        demo: "clipada demo --out runs/demo",
        synthesize: "clipada synthesize photos/ --out sheet",
        train: "clipada train photos/ --out runs/line3 --backbone openai/clip-vit-base-patch16",
        calibrate: "clipada calibrate runs/line3 held-out-good-parts/ --false-alarm-rate 0.01",
        evaluate: "clipada evaluate runs/line3 photos/",
        stress: "clipada stress runs/line3 other-good-parts/",
        add: "clipada add runs/line3 new-product/ --product cap",
        remove: "clipada remove runs/line3 --last",
        info: "clipada info runs/line3",
        settings: "clipada settings memory",
    },
    "Inspect": {
        predict: "clipada predict runs/line3 new-parts/ --out out",
        watch: "clipada watch runs/line3 /srv/camera --out pictures",
        report: "clipada report runs/line3",
    },
    "Operate": {
        serve: "clipada serve runs/line3 --port 8000",
        export: "clipada export runs/line3 --engine openvino --precision int8",
        push: "clipada push runs/line3 OWNER/line3",
        verify: "clipada verify runs/line3",
        protocol: "clipada protocol runs/line3 --out protocol.html",
    },
    "Research": {
        compare: "clipada compare runs/line3 photos/ --out runs/compared",
        reproduce: "clipada reproduce mvtec mvtec_anomaly_detection/ --out runs/paper --plan",
    },
}
"""Commands by group of the help text, each with an example."""

for group, commands in GROUPS.items():
    for command, example in commands.items():
        app.command(rich_help_panel=group, epilog=f"Example: {example}")(command)
app.add_typer(
    history_app,
    name="history",
    rich_help_panel="Operate",
    epilog="Example: clipada history list --defective --database sqlite:///history.db",
)


class _ScreenHandler(logging.Handler):
    """Log in color, above any bar."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {self.format(record)}", style="yellow")


def _log_handler() -> logging.Handler:
    """Log in color on a terminal; elsewhere, for files and journals, in plain lines with the time."""
    if console.is_terminal or console.quiet:
        return _ScreenHandler()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def main() -> None:
    """Run the command line; an error that the user can fix is printed without a traceback and exits with 2."""
    for stream in (sys.stdout, sys.stderr):  # names of files may contain what is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_log_handler()])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        try:
            require_threads()
            app()
        finally:
            sys.stdout.flush()  # so that a full disk is reported here, not at the end of the interpreter
    except KeyboardInterrupt:  # before or after the command itself, which says how to go on
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of standard output has ended
        _drop_output()
        sys.exit(1)
    except Exception as error:
        text = explain(error)
        if text is None:
            raise
        error_console.print(f"error: {text}", style="red", soft_wrap=True)
        _drop_output()
        sys.exit(2)


def _drop_output() -> None:
    """Send what is left of standard output nowhere: the interpreter would try to write it again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
