"""Atomic file writes, locks, regular files, JSON and hashes: no reader ever sees a half-written file."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import platform
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from clipada.errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows has none
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file in a folder that its only writer holds locked."""

LONGEST_NAME = 255
"""Number of bytes of the longest file name that common file systems accept."""

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends without an error.

    Parent folders are created. If the block raises or the process is killed, ``path`` stays unchanged; a temporary file
    that a killed process left behind is overwritten by the next attempt. Writers at the same time have different
    temporary files.

    Raises:
        OSError: The file cannot be written; the error names ``path``.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    aside, held = _temporary(path)
    try:
        with naming(path, aside):
            yield aside
            _flush(aside)
            aside.replace(path)
    except BaseException:  # after a rename, the name belongs to the next writer
        aside.unlink(missing_ok=True)
        raise
    finally:
        if held is not None:
            held.close()


@contextmanager
def naming(path: Path, aside: Path | None = None) -> Iterator[None]:
    """Let an ``OSError`` of the block that names no file, or the temporary one, name ``path`` instead."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(aside)):
            error.filename, error.filename2 = str(path), None
        raise


def fitting_name(name: str, ending: str = "") -> str:
    """Return a file name and its ending; if they are too long for a file system, cut the name and append a hash of it.

    Different names stay different, and the same name always gets the same result.
    """
    whole = os.fsencode(name) + os.fsencode(ending)
    if len(whole) <= LONGEST_NAME:
        return name + ending
    mark = "~" + hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    cut = os.fsencode(name)[: LONGEST_NAME - len(mark) - len(os.fsencode(ending))]
    return cut.decode(errors="ignore") + mark + ending


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading if it is a regular file; opening never waits, also if it is replaced in between.

    A FIFO without a writer would block forever, and a device can deliver bytes without an end.

    Raises:
        OSError: It cannot be opened, or is no regular file; the error then says what it is.
    """
    _require_regular(path, path.stat().st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def ensure_folder(folder: Path) -> Path:
    """Create a folder if it does not exist and return it.

    Raises:
        RunError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected, remedy = "a folder, or a place for a new one", "choose another --out"
        raise RunError(f"cannot write into {folder}", expected=expected, got=error.strerror, remedy=remedy) from error
    return folder


def require_writable(folder: Path) -> None:
    """Check that files can be created in a folder, before work whose result is to be written there.

    Raises:
        RunError: They cannot.
    """
    probe = folder / f".{uuid4().hex}.part"
    try:
        with probe.open("x"):
            probe.unlink()
    except OSError as error:
        raise _cannot_write(folder, error) from error


@contextmanager
def lock_folder(folder: Path, name: str = LOCK, remedy: str = "wait for it, or choose another --out") -> Iterator[None]:
    """Lock a folder for this process, if its file system has locks; the lock ends with the process.

    Args:
        folder: The folder; it is created if it does not exist.
        name: Name of the lock's file, which is deleted in the end. Different names are different locks.
        remedy: What to do if another process has the lock.

    Raises:
        RunError: Another process has the lock, which is named, or the folder cannot be created or written to.
    """
    with lock_file(ensure_folder(folder) / name, f"another process is at work in {folder}", remedy):
        yield


@contextmanager
def lock_file(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock that a file stands for, if its file system has locks; the lock ends with the process.

    Args:
        path: The file, which contains the holder's name and is deleted in the end.
        what: The failure if another process has the lock.
        remedy: What to do then.

    Raises:
        RunError: Another process has the lock, or the file cannot be created.
    """
    try:
        held = _hold(path)
        if held is None:
            got = path.read_text(encoding="utf-8", errors="replace").strip() or "a process"
            raise RunError(what, expected="one at a time", got=got, remedy=remedy)
        held.write(_this_process())
        held.flush()
    except OSError as error:
        raise _cannot_write(path.parent, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        held.close()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8.

    Bytes of a file name that are not UTF-8 are written as escapes, which JSON can read back.
    """
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as ``json_text`` formats it."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return ``value`` as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read the JSON object in ``path``; raise ``RunError`` with ``remedy`` if it is damaged."""
    try:
        with open_regular(path) as file:
            content = parse_json(file.read().decode())
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged", expected="JSON", got=str(error), remedy=remedy) from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged", expected="a JSON object", got=type(content).__name__, remedy=remedy)
    return content


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hash of a file's content, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Force the file's bytes to the disk: after a power loss, a rename without it can leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _temporary(path: Path) -> tuple[Path, IO[str] | None]:
    """Return a temporary path beside ``path``, and the open file whose lock keeps others from it, if there are locks.

    The usual name is taken unless another writer holds it, so that what a killed one left behind is overwritten.
    """
    usual = path.with_name(fitting_name(f".{path.stem}", f".part{path.suffix}"))
    if fcntl is None:
        return usual, None
    try:
        held = _hold(usual)
    except OSError:  # e.g. of another user; an error that does not come from the name comes again
        held = None
    return (usual, held) if held is not None else (path.with_name(f".{uuid4().hex}.part{path.suffix}"), None)


def _hold(path: Path) -> IO[str] | None:
    """Open a file, created if it does not exist, and lock and empty it; return ``None`` if another has the lock."""
    while True:
        file = path.open("a", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.close()
                return None
            log.debug("no lock of %s: %s", path, error)  # a file system without locks
        if _is_open_at(file, path):
            file.truncate(0)
            return file
        file.close()  # its holder deleted or renamed it in between


def _is_open_at(file: IO[str], path: Path) -> bool:
    """Return True if ``path`` is the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _cannot_write(folder: Path, error: OSError) -> RunError:
    """Return the error for a folder in which no file can be created."""
    remedy = "free some space" if error.errno == errno.ENOSPC else "change its permissions, or use a copy of it"
    expected = "a folder that files can be created in"
    return RunError(f"cannot write into {folder}", expected=expected, got=error.strerror, remedy=remedy)


def _this_process() -> str:
    """Describe this process for those that find a lock taken."""
    command = next((word for word in sys.argv[1:2] if word.isalpha()), "")  # options may contain passwords
    return f"process {os.getpid()} on {platform.node()}: {' '.join([Path(sys.argv[0]).name, command])}".strip() + "\n"


def _require_regular(path: Path, mode: int) -> None:
    """Raise ``OSError`` unless the mode is that of a regular file."""
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))
