"""Nothing is ever half-written: a block that raises, or a process that is killed, leaves the old file as it was."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipada.files import atomic_write, write_json, write_text


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_the_new_content_appears_at_once_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with atomic_write(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.parent == path.parent  # the same file system: the rename is atomic
        assert aside.suffix == ".json"  # writers that go by the suffix write the right format
        assert aside.name.startswith(".")  # searches for images pass it over
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", ["old", None])
def test_a_block_that_raises_changes_nothing(tmp_path: Path, error: type[BaseException], old: str | None) -> None:
    path = tmp_path / "run.json"
    if old is not None:
        path.write_text(old)
    before = list(tmp_path.iterdir())

    def fail() -> None:
        with atomic_write(path) as aside:
            aside.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == before
    assert old is None or path.read_text() == old


def test_a_killed_process_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    code = (
        "import os, pathlib, signal, sys; from clipada.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half of the n'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_what_stands_in_the_way_stays_and_no_leftover_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"), atomic_write(path) as aside:
        aside.write_text("new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask_and_not_the_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_text(path, "content")
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.umask(0o027) == 0o027  # asking for it did not change it


def test_parent_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "content")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "content"


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "card.md", "Schläuche – 管")
    assert (tmp_path / "card.md").read_bytes().decode() == "Schläuche – 管"


def test_file_names_that_are_no_text_survive_json(tmp_path: Path) -> None:
    """A camera's Latin-1 file name must not cost a finished training its ``config.json``."""
    value = {"unreadable": [os.fsdecode(b"Schl\xe4uche.png")], "category": "Schläuche"}
    write_json(tmp_path / "config.json", value)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "Schläuche" in text
