"""Commands typed in a terminal: bars go to standard error, and standard output goes where it was sent."""

import csv
import json
import os
import re
import shutil
import sys
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipada.cli import main
from clipada.cli import terminal as terminal_consoles
from command_line import TINY, Command, process


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
            for console in (terminal_consoles.out_console, terminal_consoles.error_console, terminal_consoles.console):
                patch.setattr(console, "_width", None)  # one that was taken from COLUMNS on import
            with pytest.raises(SystemExit) as exited:
                main()
        shown = terminal.close()
        return Typed(int(exited.value.code or 0), file.read_text() if redirected else shown, shown)

    return run


@pytest.fixture
def calibrated(clipada: Command, run_folder: Path, images: Path) -> Path:
    """A run whose thresholds, of each product, call scratched parts defective."""
    good = [images / "good", images.parents[1] / "plate" / "test" / "good"]
    rate = ["--false-alarm-rate", 0.5, "--confidence", 0.5, "--per", "product"]
    assert clipada("calibrate", run_folder, *good, *rate, "--device", "cpu").code == 0
    return run_folder


def seen(screen: str) -> list[str]:
    """The lines on a terminal without colors and bars."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen).split("\n")]


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
    done = typed("predict", finished_run, images, "--format", "jsonl", redirected=False)
    lines = [line[line.index('{"path"') :] for line in done.screen.splitlines() if '{"path"' in line]
    assert len(lines) == 4
    assert all(json.loads(line)["score"] for line in lines)


@pytest.mark.parametrize(
    ("columns", "heads"), [(80, "part verdict score threshold p-value regions"), (60, "part verdict score threshold")]
)
def test_predict_prints_a_table_that_fits_the_screen(
    typed: Callable[..., Typed],
    calibrated: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    heads: str,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    folder = images / "kept_by_the_second_operator"
    folder.mkdir(exist_ok=True)
    shutil.copy(images / "good" / "000.png", folder / "camera-2026-11-28T12-00-00-part.png")
    (folder / "broken.png").write_bytes(b"")
    try:
        done = typed("predict", calibrated, images.parents[1], redirected=False)
    finally:
        shutil.rmtree(folder)
    assert done.code == 0, done.screen
    lines = seen(done.screen)
    assert any(line.endswith(heads.replace(" ", "")) for line in map("".join, map(str.split, lines)))
    rows = [line for line in lines if re.search(r"  (good|defective|left out)\b", line) and "product" not in line]
    scratched = [match.groups() for row in rows if (match := re.search(r"scratch/00\d.png +(\w+) +(\S+) +(\S+)", row))]
    assert [verdict for verdict, *_ in scratched] == ["defective"] * 4
    assert all(float(score) > float(threshold) for _, score, threshold in scratched)
    assert any("camera-2026" in row and "-part.png" in row and "…" in row for row in rows)  # both ends of a long name
    assert any("…/broken.png" in row and "left out" in row for row in rows)
    for row in rows:
        table = row[row.rindex("left") + 4 :] if re.search(r"\d left\w", row) else row
        assert len(table) <= columns, row
    assert any(re.fullmatch(r"disc +12 +\d+ +\d+ +1", line) for line in lines), lines  # the tally by product
    assert any(line.startswith("inspected ") for line in lines)


def test_a_table_or_csv_may_be_redirected(typed: Callable[..., Typed], calibrated: Path, images: Path) -> None:
    table = typed("predict", calibrated, images, "--format", "table").out.splitlines()
    assert table[0].split() == ["part", "verdict", "score", "threshold", "p-value", "regions"]
    assert [line.split()[:2] for line in table[1:]] == [
        ["good/000.png", "good"],
        ["good/001.png", "good"],
        ["scratch/000.png", "defective"],
        ["scratch/001.png", "defective"],
    ]
    rows = list(csv.DictReader(typed("predict", calibrated, images, "--format", "csv").out.splitlines()))
    assert [(row["decision"], row["group"]) for row in rows] == [("good", "disc")] * 2 + [("defective", "disc")] * 2
    assert all(float(row["score"]) > float(row["score_threshold"]) and int(row["regions"]) for row in rows[2:])


def test_colors_that_are_forced_make_no_table_of_a_file(
    typed: Callable[..., Typed], calibrated: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = typed("predict", calibrated, images)
    assert [json.loads(line)["decision"] for line in done.out.splitlines()] == ["good"] * 2 + ["defective"] * 2


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
