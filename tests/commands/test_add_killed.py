"""Additions and removals that are killed: the run is that of before or that of after, and the next command goes on."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from clipada import add_parts, calibrate, remove_parts, train
from clipada.calibration import read_calibration
from clipada.commands.verify import verify
from clipada.config import CalibrationConfig
from clipada.runs import CALIBRATION, load_model, read_run
from growing import RUNTIME, memory_config, write_parts
from kills import Killed, killed_before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two products with a memory alone, and good parts of a third."""
    folder = tmp_path_factory.mktemp("killed")
    for name in ("plate", "disc"):
        write_parts(folder / "data" / name / "train" / "good", name, 4)
    write_parts(folder / "ring", "ring", 4)
    config = memory_config(folder / "dinov2", filter__images=0, memory__crop=False)
    train(folder / "data", folder / "run", config, runtime=RUNTIME)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def state(run: Path) -> tuple[str, ...]:
    """Return the products of a run whose files are all as it was sealed, and whose model loads."""
    assert verify(run).intact
    described = read_run(run)
    head = load_model(described).head
    assert head is not None
    assert list(head.products) == list(described.training.categories)
    return head.products


TWO, THREE = ("disc", "plate"), ("disc", "plate", "ring")


@pytest.mark.slow
def test_a_kill_between_any_two_changes_of_files_leaves_the_run_of_before_or_after(run: Path, trained: Path) -> None:
    def add() -> None:
        add_parts(run, trained / "ring", product="ring", runtime=RUNTIME)

    def undo() -> None:
        remove_parts(run, last=True)

    for act, back, after in ((add, undo, THREE), (undo, add, TWO)):
        for change in count():
            with killed_before(change) as made:
                try:
                    act()
                except Killed:
                    pass
                else:
                    break
            if state(run) == after:
                back()
        assert "config.json" in made
        assert state(run) == after


@pytest.mark.slow
def test_a_killed_removal_keeps_the_calibration_of_the_memory_before(run: Path, trained: Path) -> None:
    held_out = write_parts(trained / "held-out" / "disc", "disc", 9, seed=9)
    calibrate(run, engine="torch", device="cpu")
    before = read_run(run).model_sha256
    for change in count():
        if state(run) == TWO:
            add_parts(run, trained / "ring", product="ring", runtime=RUNTIME)
        calibrate(run, held_out, CalibrationConfig(false_alarm_rate=0.3, mode="marginal"), engine="torch", device="cpu")
        with killed_before(change):
            try:
                remove_parts(run, last=True)
            except Killed:
                pass
            else:
                break
        if state(run) == TWO:
            assert read_calibration(run / CALIBRATION).model_sha256 == before
    assert change > 3
    assert read_calibration(run / CALIBRATION).model_sha256 == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_are_killed_at_random_leave_a_whole_run(run: Path, trained: Path) -> None:
    """Half of them at any time, half while they write."""
    dice = random.Random(5)
    started = time.monotonic()
    in_process(lambda: add_parts(run, trained / "ring", product="ring", runtime=RUNTIME))
    whole = time.monotonic() - started
    for kill in range(20):
        three = state(run) == THREE
        act = (
            (lambda: remove_parts(run, last=True))
            if three
            else (lambda: add_parts(run, trained / "ring", product="ring", runtime=RUNTIME))
        )
        while_writing = kill % 2 == 1
        in_process(act, dice.uniform(0, 0.05 if while_writing else whole), run / "revisions" if while_writing else None)
        assert state(run) in (TWO, THREE)
    if state(run) == TWO:
        add_parts(run, trained / "ring", product="ring", runtime=RUNTIME)
    assert state(run) == THREE


def in_process(act: Callable[[], object], seconds: float | None = None, after: Path | None = None) -> None:
    """Run ``act`` in a process of its own; kill it after some seconds, counted from the next change in a folder."""
    stamp = after.stat().st_mtime_ns if after is not None and after.exists() else 0
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    while after is not None and not (after.exists() and after.stat().st_mtime_ns != stamp):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.001)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
