"""README, tutorial and Python page, to the letter: commands in order, on small images with the embedded backbone."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import clipada as package
from clipada import Config, train
from clipada.config import BaselinesConfig, DemoConfig, HistoryConfig, RuntimeConfig
from clipada.history.store import History
from command_line import Command
from documents import ROOT, blocks
from folder_hub import FolderHub
from tiny import write_good_parts, write_products

pytestmark = pytest.mark.slow

SKIPPED = {
    ".": "activates an environment",
    "make": "builds this environment",
    "pip": "downloads from PyPI",
}
"""Programs that are not run, and why."""

SMALL = {"backbone.block": 4, "model.image_size": 64, "training.batch_size": 4, "training.epochs": 1}
"""Settings of a training of seconds with the embedded backbone."""

SETTINGS = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
NO_MILESTONES = ["--epochs", "1"]
ADDED = {
    "serve": ["--port", "0"],
    "start": ["--backbone", "nano", "--preset", "quick", "--workers", "0"],
    "synthesize": ["--count", "6", "--set", "model.image_size=64"],
    "train": [*SETTINGS, *NO_MILESTONES, "--workers", "0"],
    "watch": ["--once", "--settle", "0"],
}
"""Options added to a command, which only make it smaller, or end it."""

REPLACED = {
    "openai/clip-vit-base-patch16": "nano",
    "/camera": "camera",
}
"""Words replaced by what is there."""

DATABASE = "sqlite:///history.db"
SERVED = re.compile(r"http://127\.0\.0\.1:\d+")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every image that the documents name; the working folder."""
    folder = tmp_path / "here"
    write_products(folder / "DATA")
    for seed, product in enumerate(("bracket", "lid")):
        write_good_parts(folder / "photos" / product / "good", 8, seed)
        write_good_parts(folder / "held-out" / product, 299, 10 + seed)
        write_good_parts(folder / "camera" / product, 2, 20 + seed)
        write_good_parts(folder / "defective-parts" / product, 1, 30 + seed)
    write_good_parts(folder / "held-out-good-parts", 299, 40)
    write_good_parts(folder / "new-parts", 3, 41)
    shutil.copy(folder / "new-parts" / "000.png", folder / "part.png")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


class Reader:
    """Someone who types every command of a document into a terminal."""

    def __init__(self, clipada: Command) -> None:
        self.clipada = clipada
        self.server: subprocess.Popen[str] | None = None

    def type(self, words: list[str]) -> None:
        """Run a command to its end, or start a server; anything but success fails the test."""
        if words[0] in SKIPPED:
            return
        assert words[0] == "clipada", f"{words[0]} is neither run nor skipped with a reason: {words}"
        words = [REPLACED.get(word, word) for word in words[1:]]
        if words[0] == "history":
            words = self.with_a_verdict(words)
        words += ADDED.get(words[0], [])
        if words[0] == "export" and "int8" in words:
            words.append("--force")  # the scores of a training of one epoch differ by less than int8 resolves
        if words[0] == "serve":
            self.serve(words)
            return
        outcome = self.clipada(*words)
        assert outcome.code == 0, f"clipada {' '.join(words)}\n{outcome.err}"

    def with_a_verdict(self, words: list[str]) -> list[str]:
        """Store verdicts if there are none, and name one that exists instead of the document's example."""
        with History(HistoryConfig(database=DATABASE)) as history:
            numbers = [entry.id for entry in history.entries()]
        if not numbers:
            stored = self.clipada("predict", "runs/line3", "new-parts", "--database", DATABASE)
            assert stored.code == 0, stored.err
            return self.with_a_verdict(words)
        return [str(numbers[0]) if word.isdigit() and words[1] in ("confirm", "reject") else word for word in words]

    def serve(self, words: list[str]) -> None:
        """Start a server in place of an earlier one, and wait for its address."""
        self.stop()
        command = [sys.executable, "-m", "clipada", *words]
        self.server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})
        assert self.server.stderr is not None
        said = ""
        while not SERVED.search(said):
            line = self.server.stderr.readline()
            assert line, said
            said += line
        threading.Thread(target=self.server.stderr.read, daemon=True).start()

    def stop(self) -> None:
        """Stop the server as a service manager does."""
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(60) == 0
            self.server = None


@pytest.fixture
def reader(here: Path, clipada: Command) -> Iterator[Reader]:
    reader = Reader(clipada)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: reader.server is not None and reader.server.kill())
        yield reader


@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md"])
def test_the_commands_work_in_their_order(reader: Reader, here: Path, document: str) -> None:
    for block in blocks(ROOT / document):
        for words in block.commands:
            reader.type(words)
    reader.stop()
    assert (here / "out" / "predictions.jsonl").is_file()
    if document == "README.md":
        assert (here / "runs" / "line3" / "report.html").is_file()
        assert (here / "out" / "report.html").is_file()
    else:
        assert (here / "runs" / "line3" / "calibration.json").is_file()
        with History(HistoryConfig(database=DATABASE)) as history:
            assert history.entries()


def test_the_readme_is_one_screen_and_shows_pictures_that_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    shown = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(shown) == 6
    for name in shown:
        with PIL.Image.open(ROOT / name) as picture:
            assert picture.width >= 1000


def smaller(command: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A command of the package with options that make it smaller."""
    return lambda *words, **given: command(*words, **options | given)


def test_the_python_of_its_page_runs(here: Path, hub: FolderHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the embedded backbone, fewer images and one epoch; the run is on the hub beforehand."""
    (code,) = (block.text for block in blocks(ROOT / "docs/python.md") if block.language == "python")
    cpu = RuntimeConfig(device="cpu", workers=0)
    small = Config.preset("prompt").updated({"backbone.name": "nano", "training.milestones": (), **SMALL})
    package.push_to_hub(train("DATA", "pushed", small, runtime=cpu).folder, "OWNER/line3")

    def small_training(data: Path, out: Path, config: Config, **options: Any) -> object:
        return train(data, out, config.updated({"training.milestones": (), **SMALL}), **{"runtime": cpu} | options)

    few = DemoConfig(train=2, good=1, defective=1, held_out=2, false_alarm_rate=0.8)
    no_baselines = BaselinesConfig(include=())
    monkeypatch.setattr(package, "train", small_training)
    monkeypatch.setattr(package, "start", smaller(package.start, preset="quick", runtime=cpu))
    monkeypatch.setattr(package, "demo", smaller(package.demo, config=small, parts=few, runtime=cpu))
    monkeypatch.setattr(
        package, "reproduce", smaller(package.reproduce, config=small, runtime=cpu, baselines=no_baselines)
    )
    names: dict[str, Any] = {}
    exec(compile(code.replace("clip-b16", "nano"), "python.md", "exec"), names)
    assert 0 < names["verdict"].score < 1
    assert names["report"].path.is_file()
    assert names["started"].report.is_file()
