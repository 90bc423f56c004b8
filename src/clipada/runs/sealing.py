"""Writers of the manifest. Each holds the lock of the run folder: ``runs.writing``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clipada.errors import RunError
from clipada.runs.contents import deciding_files
from clipada.runs.manifest import Manifest, SealedFile, find_manifest, write_manifest


def seal(folder: Path) -> Manifest:
    """Write the manifest of the files that decide a run's verdicts, as they are now.

    Raises:
        RunError: One of them cannot be read.
    """
    states: dict[str, SealedFile] = {}
    for name in deciding_files(folder):
        try:
            states[name] = SealedFile.of(folder / name)
        except OSError as error:
            what, got = f"{folder / name} cannot be sealed", error.strerror or str(error)
            raise RunError(what, expected="a regular file", got=got, remedy="restore it, or delete it") from error
    manifest = Manifest(states)
    write_manifest(folder, manifest)
    return manifest


@contextmanager
def changing(folder: Path, states: Mapping[str, SealedFile | None]) -> Iterator[None]:
    """Let the block give files of a run the states named, ``None`` for removal, and seal the run with them.

    If the block fails or the process is killed, the manifest accepts both the old and the new state of each file. All
    other entries of the manifest stay: a file that somebody else changed is still noticed. A run without a manifest,
    of an earlier version, is sealed as it is found in the end.
    """
    present = find_manifest(folder)
    if present is not None:
        write_manifest(folder, present, states)
    yield
    if present is None:
        seal(folder)
    else:
        write_manifest(folder, present.changed(states))


def replace_folder(run: Path, aside: Path, final: Path) -> None:
    """Move folder ``aside``, with files that decide verdicts, to ``final`` in a run folder, in place of the one there.

    The old folder is removed in a step of its own: whenever the process is killed, there is the whole old folder, none,
    or the whole new one, as the manifest says.
    """
    remove_folder(run, final)
    where = final.relative_to(run).as_posix()
    new = {f"{where}/{path.name}": SealedFile.of(path) for path in sorted(aside.iterdir()) if path.is_file()}
    with changing(run, new):
        aside.rename(final)


def remove_folder(run: Path, final: Path) -> None:
    """Remove folder ``final``, with files that decide verdicts, from a run folder, if it is there."""
    removed = final.with_name(f".{final.name}.replaced")
    shutil.rmtree(removed, ignore_errors=True)
    sealed = find_manifest(run)
    old = {name for name in (sealed.files if sealed else ()) if run / name == final / Path(name).name}
    if final.exists() or old:
        with changing(run, dict.fromkeys(old)):
            if final.exists():
                final.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
