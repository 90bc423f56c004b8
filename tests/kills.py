"""A process that is killed between two changes of the file system, played in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Killed(BaseException):
    """The process is dead: no handler of errors may go on."""


@contextmanager
def killed_before(change: int) -> Iterator[list[str]]:
    """Kill the block before its n-th change, counted from 0: a file put in its place, moved or deleted.

    Temporary files and locks, whose names begin with a dot, do not count. Yields the changes that were made.
    """
    made: list[str] = []

    def counted(name: str) -> None:
        if len(made) == change:
            raise Killed
        made.append(name)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink"):
            original = getattr(Path, name)

            def change_files(path: Path, *args: object, original: object = original, **options: object) -> object:
                target = Path(str(args[0])) if args else path
                if not target.name.startswith(".") or not path.name.startswith("."):
                    counted(target.name)
                return original(path, *args, **options)  # type: ignore[operator]

            patch.setattr(Path, name, change_files)
        yield made
