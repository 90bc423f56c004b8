"""Writers of a run folder that are killed: the run is usable, or says that it is unfinished and how to go on."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from clipada import calibrate, train
from clipada.calibration import Calibration
from clipada.commands.verify import verify
from clipada.config import CalibrationConfig, Config, RuntimeConfig
from clipada.errors import RunError
from clipada.runs import (
    ADAPTER,
    CALIBRATION,
    CARD,
    CHECKPOINT,
    MANIFEST,
    PLAN,
    PROTOTYPES,
    SealedFile,
    changing,
    find_manifest,
    load_calibration,
    read_run,
    replace_folder,
    seal,
    writing_into,
)
from command_line import TINY, process
from kills import Killed, killed_before
from run_folders import said

CPU = RuntimeConfig(device="cpu", workers=0)
RATES = (0.5, 0.4)


def guarantee(rate: float) -> CalibrationConfig:
    return CalibrationConfig(false_alarm_rate=rate, confidence=0.5)


@pytest.fixture
def calibrated(run_folder: Path, products: Path) -> Path:
    """A calibrated run."""
    calibrate(
        run_folder, [products / name / "test" / "good" for name in ("plate", "disc")], guarantee(0.5), device="cpu"
    )
    return run_folder


def kills_of(act: Callable[[], object], afterwards: Callable[[], object]) -> list[str]:
    """Kill an act before each of its changes in turn, and call ``afterwards``; return its changes."""
    for change in count():
        with killed_before(change) as made:
            try:
                act()
            except Killed:
                pass
            else:
                return made
        afterwards()
    raise AssertionError


# --- a calibration


def present_calibration(run: Path) -> Calibration:
    """Return the calibration of a run that is as it was sealed."""
    assert verify(run).intact
    calibration, _ = load_calibration(read_run(run))
    assert calibration is not None
    return calibration


def test_a_killed_calibration_leaves_the_old_or_the_new_one(calibrated: Path) -> None:
    old = present_calibration(calibrated).settings.false_alarm_rate
    found = set()
    made = kills_of(
        lambda: calibrate(calibrated, settings=guarantee(0.4)),
        lambda: found.add(present_calibration(calibrated).settings.false_alarm_rate),
    )
    assert made.count(MANIFEST) == 2
    assert found == {old, 0.4}
    assert present_calibration(calibrated).settings.false_alarm_rate == 0.4
    manifest = find_manifest(calibrated)
    assert manifest is not None
    assert "next" not in (calibrated / MANIFEST).read_text()


def test_a_first_calibration_may_be_killed(calibrated: Path, tmp_path: Path) -> None:
    """From a sealed run without a calibration."""
    (calibrated / CALIBRATION).rename(tmp_path / "new.json")
    seal(calibrated)

    def place() -> None:
        with changing(calibrated, {CALIBRATION: SealedFile.of(tmp_path / "new.json")}):
            shutil.copy(tmp_path / "new.json", tmp_path / "copy.json")
            (tmp_path / "copy.json").replace(calibrated / CALIBRATION)

    kills_of(place, lambda: verify(calibrated).intact or pytest.fail("refused"))
    assert present_calibration(calibrated)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_calibration_killed_at_any_moment_leaves_a_sealed_run(calibrated: Path) -> None:
    draw = random.Random(7)
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                for rate in RATES * 1000:
                    calibrate(calibrated, settings=guarantee(rate))
            finally:
                os._exit(1)
        time.sleep(draw.uniform(0.0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert present_calibration(calibrated).settings.false_alarm_rate in RATES
    calibrate(calibrated, settings=guarantee(0.4))
    assert present_calibration(calibrated).settings.false_alarm_rate == 0.4


# --- an export


def test_a_killed_export_leaves_the_old_one_none_or_the_new_one(run_folder: Path) -> None:
    final = run_folder / "exports" / "onnx-fp32"

    def export(text: str) -> None:
        aside = final.with_name(".onnx-fp32.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "graph.onnx").write_text(text)
        (aside / "export.json").write_text(text)
        with writing_into(run_folder):
            replace_folder(run_folder, aside, final)

    export("old")
    assert verify(run_folder).intact
    found = []

    def look() -> None:
        assert verify(run_folder).intact
        found.append({path.read_text() for path in final.glob("*")})

    kills_of(lambda: export("new"), look)
    look()
    assert found[0] == {"old"}
    assert found[-1] == {"new"}
    assert all(one in ({"old"}, set(), {"new"}) for one in found)
    assert set() in found


# --- a training


def finish(products: Path, folder: Path, config: Config) -> None:
    """Resume, and check that nothing is missing and nothing is left over."""
    train(products, folder, config, runtime=CPU, resume=True)
    assert verify(folder).intact
    assert (folder / CARD).exists()
    assert not (folder / CHECKPOINT).exists()
    assert not (folder / PLAN).exists()


@pytest.mark.slow
def test_a_training_killed_between_any_two_writes_can_be_finished(
    config: Config, products: Path, tmp_path: Path
) -> None:
    config = config.updated({"training.epochs": 1, "training.milestones": (), "model.prototypes": 4})
    whole = train(products, tmp_path / "whole", config, runtime=CPU)
    folder = tmp_path / "run"

    def afterwards() -> None:
        if not (folder / PLAN).exists():
            assert not folder.exists() or not any(folder.iterdir()) or verify(folder).intact
        elif not (folder / MANIFEST).exists():
            with pytest.raises(RunError) as caught:
                read_run(folder)
            assert f"clipada train --resume --out {folder}" in said(caught.value)
        else:
            assert verify(folder).intact
        if folder.exists():
            train(products, folder, config, runtime=CPU, resume=True)
            finish(products, folder, config)
            for name in (ADAPTER, PROTOTYPES):
                assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
            shutil.rmtree(folder)

    made = kills_of(lambda: train(products, folder, config, runtime=CPU), afterwards)
    assert made.index("config.json") < made.index(MANIFEST) < made.index(CARD) < made.index(PLAN, 1)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_can_be_finished(
    config: Config, products: Path, clip_folder: Path, tmp_path: Path
) -> None:
    draw = random.Random(3)
    for index in range(4):
        folder = tmp_path / f"run{index}"
        with process("train", products, "--out", folder, "--backbone", clip_folder, *TINY) as running:
            deadline = time.monotonic() + 120
            while not folder.exists() and time.monotonic() < deadline and running.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 4))
            running.kill()
        if (folder / PLAN).exists():
            train(None, folder, runtime=CPU, resume=True)
        if folder.exists() and any(folder.iterdir()):
            assert verify(folder).intact
            assert (folder / CARD).exists()
