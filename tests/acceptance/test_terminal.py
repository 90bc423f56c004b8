"""Commands typed in a terminal: bars go to standard error, and standard output goes where it was sent."""

import json
import os
import sys
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipada.cli import main
from command_line import TINY, process


class Terminal:
    """A pseudo-terminal of 80 columns, whose text is collected while it is written to."""

    def __init__(self) -> None:
        self._read, self.end = os.openpty()
        tty.setraw(self.end)  # no line endings of its own
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        while True:
            try:
                part = os.read(self._read, 1 << 16)
            except OSError:  # the other end was closed
                return
            self._parts.append(part)

    def close(self) -> str:
        """Close the terminal and return all that was written to it."""
        os.close(self.end)
        self._reader.join(timeout=30)
        os.close(self._read)
        return b"".join(self._parts).decode()


@dataclass
class Typed:
    """Exit code, content of the file or terminal of standard output, and content of the terminal."""

    code: int
    out: str
    screen: str


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Typed]:
    """Run a command in this process as in a terminal, with standard output in a file or in the same terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")

    def run(*words: object, redirected: bool = True) -> Typed:
        terminal, file = Terminal(), tmp_path / "standard-output"
        with (
            pytest.MonkeyPatch.context() as patch,
            os.fdopen(os.dup(terminal.end), "w") as screen,
            file.open("w") if redirected else os.fdopen(os.dup(terminal.end), "w") as out,
        ):
            patch.setattr(sys, "argv", ["clipada", *map(str, words)])
            patch.setattr(sys, "stderr", screen)
            patch.setattr(sys, "stdout", out)
            with pytest.raises(SystemExit) as exited:
                main()
        shown = terminal.close()
        return Typed(int(exited.value.code or 0), file.read_text() if redirected else shown, shown)

    return run


@pytest.fixture
def images(finished_run: Path) -> Path:
    return finished_run.parent / "products" / "disc" / "test"


def test_the_lines_of_predict_are_in_the_file(typed: Callable[..., Typed], finished_run: Path, images: Path) -> None:
    done = typed("predict", finished_run, images)
    assert done.code == 0, done.screen
    assert [0 < json.loads(line)["score"] < 1 for line in done.out.splitlines()] == [True] * 4
    assert "4/4" in done.screen  # the bar was shown


def test_the_lines_of_predict_are_whole_on_the_screen(
    typed: Callable[..., Typed], finished_run: Path, images: Path
) -> None:
    done = typed("predict", finished_run, images, redirected=False)
    lines = [line[line.index('{"path"') :] for line in done.screen.splitlines() if '{"path"' in line]
    assert len(lines) == 4
    assert all(json.loads(line)["score"] for line in lines)


@pytest.mark.parametrize("redirected", [True, False])
def test_every_command_with_a_bar(
    typed: Callable[..., Typed],
    run_folder: Path,
    finished_run: Path,
    clip_folder: Path,
    images: Path,
    tmp_path: Path,
    redirected: bool,
) -> None:
    """What each command prints on standard output, in a terminal with and without a redirection."""
    data = finished_run.parent / "products"
    database = f"sqlite:///{tmp_path / 'history.db'}"
    commands: list[tuple[list[object], str]] = [
        (["train", data, "--out", tmp_path / "new", "--backbone", clip_folder, *TINY], ""),
        (["evaluate", run_folder, data], "I-AUC"),
        (["calibrate", run_folder, images / "good", "--false-alarm-rate", 0.5, "--confidence", 0.5], ""),
        (["watch", run_folder, images, "--once", "--settle", 0, "--database", database], '"score"'),
        (["history", "list", "--database", database], "000.png"),
        (["demo", "--data-only", tmp_path / "drawn", "--train", 1, "--good", 1, "--defective", 1], ""),
        (["synthesize", data, "--out", tmp_path / "sheet", "--count", 2, "--set", "model.image_size=32"], ""),
        (["report", run_folder, "--batch-size", 2], ""),
        (["info", run_folder], "backbone"),
    ]
    for words, expected in commands:
        done = typed(*words, redirected=redirected)
        assert done.code == 0, done.screen
        assert expected in done.out, words
        if redirected:
            assert (done.out == "") == (expected == ""), words
            assert expected == "" or expected not in done.screen, words


def test_a_process_of_its_own_in_a_terminal(finished_run: Path, images: Path, tmp_path: Path) -> None:
    """``clipada predict RUN IMAGES > FILE``, and piped into another program."""
    terminal = Terminal()
    with (
        (tmp_path / "lines").open("w") as file,
        process("predict", finished_run, images, stdout=file, stderr=terminal.end) as running,
    ):
        running.wait(timeout=120)
    with process("predict", finished_run, images, stderr=terminal.end) as running:
        piped, _ = running.communicate(timeout=120)
    assert "4/4" in terminal.close()
    for lines in ((tmp_path / "lines").read_text(), piped):
        assert [0 < json.loads(line)["score"] < 1 for line in lines.splitlines()] == [True] * 4
