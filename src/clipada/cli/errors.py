"""Errors of a command in words, each with a remedy; others are bugs and keep their traceback."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipada.cli.terminal import say
from clipada.errors import ClipAdaError, ConfigError

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
"""Optional modules, and the extra of ``clipada`` that installs each."""

_FULL, _DENIED = "free some space there, and start again", "check the permissions, or choose another place"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.EMFILE: "raise the limit of open files (ulimit -n), or pass fewer --workers",
    errno.ENOMEM: "free some memory, or pass a smaller --batch-size or fewer --workers",
}
"""Remedies by the operating system's error numbers."""

_SHARED_MEMORY = re.compile(r"shared memory|/torch_\d|out of shm", re.IGNORECASE)
_NO_MEMORY = re.compile(r"failed to map segment|cannot allocate memory|can't allocate memory", re.IGNORECASE)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def install(extra: str) -> str:
    """Return the command that installs an extra, in the clone: the package is on no index."""
    return f"pip install --constraint constraints.txt '.[{extra}]'"


def explain(error: Exception) -> str | None:
    """Return the text of an error that is not a bug of the program, ``None`` for another one."""
    if isinstance(error, ClipAdaError):
        return _with_notes(str(error), error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(package)
        return f"this needs {package}\n  remedy: in the clone, {install(extra)}" if extra else None
    if _is_about_shared_memory(error):
        return (
            f"worker processes cannot share memory with this one\n  got: {error}\n"
            "  remedy: pass --workers 0, or make /dev/shm writable and larger"
        )
    if isinstance(error, MemoryError) or (isinstance(error, ImportError | OSError) and _NO_MEMORY.search(str(error))):
        return (
            f"there is not enough memory\n  got: {str(error) or type(error).__name__}\n"
            f"  remedy: {_REMEDIES[errno.ENOMEM]}, or raise the limit (ulimit -v)"
        )
    found = _OS_ERROR.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    if number is None and not isinstance(error, OSError):
        return None
    remedy = _REMEDIES.get(number or 0)
    return _with_notes(str(error) + (f"\n  remedy: {remedy}" if remedy else ""), error)


@contextmanager
def continuing(hint: str | Callable[[], str]) -> Iterator[None]:
    """Print how to go on when the block is interrupted (Ctrl-C), and add it to errors of the operating system.

    Args:
        hint: The end of the sentence, or a function that returns it when it is needed.
    """
    try:
        yield
    except KeyboardInterrupt:  # which ends the command with the exit code 130
        say(f"stopped; {hint if isinstance(hint, str) else hint()}")
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            error.add_note(f"  then: {hint if isinstance(hint, str) else hint()}")
        raise


def again(*options: str) -> str:
    """Return the command line that is running, with options added that it lacks."""
    words = sys.argv[1:]
    return shlex.join(["clipada", *words, *(option for option in options if option not in words)])


def require_threads() -> None:
    """Raise ``ConfigError`` if ``OMP_NUM_THREADS`` asks for no thread: numerical libraries would wait forever."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    if any(re.fullmatch(r"\s*(0+|-\d+)\s*", part) for part in value.split(",")):
        raise ConfigError(
            "OMP_NUM_THREADS is out of range",
            expected="1 or more",
            got=value,
            remedy="unset it, or set it to 1 or more",
        )


def require_run_first(run: Path, others: Iterable[Path], usage: str) -> None:
    """Raise ``ConfigError`` if the run folder was given after the images instead of before them."""
    swapped = [other for other in others if _is_run(other)]
    if swapped and not _is_run(run) and run.exists():
        raise ConfigError(
            f"{run} is no run, but {swapped[0]} is one",
            expected=f"the run first: clipada {usage}",
            remedy=f"did you mean: clipada {usage.replace('RUN', str(swapped[0])).replace('IMAGES', str(run))}",
        )


def _is_run(folder: Path) -> bool:
    """Return True if a folder holds what a training writes."""
    return (folder / "config.json").is_file() and (folder / "adapter.safetensors").is_file()


def _is_about_shared_memory(error: Exception) -> bool:
    """Return True if processes could not share memory: ``/dev/shm`` is missing, full or read-only."""
    if isinstance(error, OSError):
        frames = traceback.extract_tb(error.__traceback__)
        return any(Path(frame.filename).match("multiprocessing/synchronize.py") for frame in frames)
    return isinstance(error, RuntimeError) and _SHARED_MEMORY.search(str(error)) is not None


def _with_notes(text: str, error: Exception) -> str:
    return "\n".join([text, *getattr(error, "__notes__", ())])
