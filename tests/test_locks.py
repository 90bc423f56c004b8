"""Several writers at once: one lock, released by death, and temporary files of their own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clipada.errors import RunError
from clipada.files import (
    LOCK,
    LONGEST_NAME,
    atomic_write,
    fitting_name,
    lock_folder,
    open_regular,
    require_writable,
    sha256_of,
    write_text,
)

HOLD = (
    "import pathlib, sys, time; from clipada.files import lock_folder\n"
    "with lock_folder(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is at work") as refused, lock_folder(tmp_path):
            pass
        assert f"process {holder.pid} on " in str(refused.value)
        with lock_folder(tmp_path, ".another"):
            pass
        holder.send_signal(signal.SIGKILL)
    with lock_folder(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_holds_the_lock(tmp_path: Path) -> None:
    inside, most, taken = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, taken
        for _ in range(50):
            try:
                with lock_folder(tmp_path):
                    inside += 1
                    most, taken = max(most, inside), taken + 1
                    time.sleep(0.0005)
                    inside -= 1
            except RunError:
                time.sleep(0.0002)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert taken >= 10


def test_the_words_of_a_command_line_are_kept_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["clipada", "watch", "run", "--mqtt", "mqtt://user:secret@host/topic"])
    with lock_folder(tmp_path):
        assert (tmp_path / LOCK).read_text().endswith(": clipada watch\n")


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last one to end
    assert list(tmp_path.iterdir()) == [path]


def test_six_writers_of_one_file_at_once(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def write(content: str) -> None:
        try:
            for _ in range(30):
                write_text(tmp_path / "one.json", content)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(str(index) * 10_000,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len((tmp_path / "one.json").read_text()) == 10_000
    assert len(set((tmp_path / "one.json").read_text())) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    code = (
        "import os, pathlib, signal, sys; from clipada.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert len(list(tmp_path.iterdir())) == 1
    write_text(path, "whole")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 238, "a" * 255, "é" * 127, "管" * 85, os.fsdecode(b"\xe4" * 255)])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    longer = fitting_name(name, ".overlay.png")
    assert len(os.fsencode(longer)) <= LONGEST_NAME
    assert longer.endswith(".overlay.png")
    assert longer != fitting_name(name[:-1] + "b", ".overlay.png")
    write_text(tmp_path / name, "content")
    write_text(tmp_path / longer, "content")
    assert len(list(tmp_path.iterdir())) == 2
    assert fitting_name("short", ".map.png") == "short.map.png"


def test_nothing_but_regular_files_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.png"))
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name, kind in (("fifo", "a FIFO"), ("socket", "a socket"), ("device", "a device")):
        with pytest.raises(OSError, match=kind):
            sha256_of(tmp_path / f"{name}.png")
    listener.close()
    (tmp_path / "link.png").symlink_to(tmp_path / "file.png")
    (tmp_path / "file.png").write_text("content")
    with open_regular(tmp_path / "link.png") as file:
        assert file.read() == b"content"


def test_a_file_that_becomes_a_fifo_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.png"
    path.write_text("content")
    opened = os.open

    def swapped(name: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError, match="a FIFO"):
        open_regular(path)


def test_an_error_of_a_write_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, named in ((tmp_path / "file" / "a.json", tmp_path / "file"), (tmp_path / "folder", tmp_path / "folder")):
        with pytest.raises(OSError, match=f"'{named}'"):
            write_text(path, "content")
    full = tmp_path / "full.json"
    with pytest.raises(OSError, match=r"No space left.*full\.json'"), atomic_write(full):
        raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_written_to_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    opened = Path.open

    def refuse(path: Path, mode: str = "r", **options: object) -> object:
        if "x" in mode:
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match="Read-only file system"):
        require_writable(tmp_path)
