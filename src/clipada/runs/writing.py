"""The right to write into a run folder: one program at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from clipada.files import lock_folder

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Keep other programs from writing into a run folder; check first that files can be created there.

    Raises:
        RunError: Another program writes there, or the folder cannot be written to.
    """
    with lock_folder(folder, remedy="wait until it has ended"):
        yield


def writes_into_run(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a command whose first argument, ``run``, is a run folder be the only one that writes there."""

    @wraps(command)
    def alone(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        folder = Path(str(args[0] if args else kwargs["run"]))
        if not folder.is_dir():
            return command(*args, **kwargs)  # which reports it
        with writing_into(folder):
            return command(*args, **kwargs)

    return alone
