"""`clipada stress`: counts at the present thresholds, the files it writes, what it refuses, and kills."""

import csv
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, calibrate, stress
from clipada.commands.verify import verify
from clipada.config import CalibrationConfig, StressConfig
from clipada.errors import CalibrationError, DatasetError, ImageError
from clipada.images import read_rgb
from clipada.images.perturbing import perturb
from clipada.inspection.stress_counts import StressCount
from command_line import process
from kills import Killed, killed_before
from tiny import save, write_good_parts

HALF = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
FEW = StressConfig(**dict.fromkeys(("rotate", "zoom", "blur", "noise", "jpeg", "white_balance", "dust"), ()))
ONE = replace(FEW, shift=(8,), darker=(), brighter=(), light_gradient=())
FILES = ("stress.csv", "stress.html", "stress.json", "stress.svg")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calibrated(run_folder: Path, tmp_path: Path) -> Path:
    """A calibrated run."""
    write_good_parts(tmp_path / "held" / "plate" / "good", 12, 1)
    write_good_parts(tmp_path / "held" / "disc" / "good", 12, 2)
    calibrate(run_folder, tmp_path / "held", HALF, device="cpu")
    return run_folder


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Good parts that no thresholds come from."""
    write_good_parts(tmp_path / "parts" / "plate" / "good", 6, 11)
    write_good_parts(tmp_path / "parts" / "disc" / "good", 4, 12)
    return tmp_path / "parts"


# --- counts


def test_counts_are_those_of_an_inspection_of_perturbed_files(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    """Brightness has no direction, so that a script of a user gets the same photos."""
    test = stress(calibrated, parts, tmp_path / "out", FEW, device="cpu").test
    inspector = Inspector.load(calibrated, device="cpu")
    for row in test.rows:
        if row.kind not in (None, "darker", "brighter"):
            continue
        folder = tmp_path / f"{row.kind}-{row.strength:g}"
        for path in sorted(parts.rglob("*.png")):
            image = read_rgb(path)
            changed = image if row.kind is None else perturb(image, row.kind, row.strength, np.random.default_rng(0))
            save(folder / path.relative_to(parts), changed)
        verdicts = list(inspector.inspect_files(sorted(folder.rglob("*.png"))))
        assert row.good == StressCount(
            images=10,
            defective=sum(verdict.defective is True for verdict in verdicts),
            not_inspectable=sum(verdict.inspectable is False for verdict in verdicts),
        )
    assert sum(row.good.not_inspectable for row in test.rows)  # so that refusals are seen apart
    assert test.plain.good.images == 10
    assert test.plain.defects.images


def test_the_same_result_in_any_order_and_batch(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    paths = sorted(parts.rglob("*.png"))
    first = stress(calibrated, paths, tmp_path / "a", FEW, device="cpu", batch_size=3).test
    again = stress(calibrated, paths[::-1], tmp_path / "b", FEW, device="cpu", batch_size=8).test
    assert first.rows == again.rows
    alone = stress(calibrated, paths, tmp_path / "c", ONE, device="cpu").test
    assert alone.rows[1] == next(row for row in first.rows if (row.kind, row.strength) == ("shift", 8))


def test_each_image_by_the_threshold_of_its_product(calibrated: Path, parts: Path, tmp_path: Path) -> None:
    settings = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8, per="product")
    calibrate(calibrated, tmp_path / "held", settings, device="cpu")
    result = stress(calibrated, parts, None, FEW, device="cpu")
    assert {name: one.images for name, one in result.test.plain.groups.items()} == {"plate": 6, "disc": 4}
    lines = list(csv.DictReader((result.folder / "stress.csv").open()))
    for kind in ("none", "darker"):
        groups = [line["group"] for line in lines if line["perturbation"] == kind and line["strength"] in ("0.0", "10")]
        assert groups == ["", "disc", "plate"]


@pytest.mark.parametrize(("alarms", "of"), [(0, 20), (3, 20), (20, 20), (1, 1), (7, 350)])
def test_intervals_are_exact(alarms: int, of: int) -> None:
    """Against the binomial test of scipy."""
    from scipy.stats import binomtest

    witness = binomtest(alarms, of).proportion_ci(0.9, "exact")
    found = StressCount(images=of + 2, defective=alarms, not_inspectable=2).interval(0.9)
    assert found == pytest.approx((witness.low, witness.high), abs=1e-9)


# --- the command line, and its files


def test_the_command_line_prints_and_keeps_the_worst_first(clipada: Command, calibrated: Path, parts: Path) -> None:
    (parts / "plate" / "good" / "damaged.png").write_bytes(b"no image")
    shutil.copy(parts / "plate" / "good" / "000.png", parts / "plate" / "good" / "copy.png")
    code, out, err = clipada("stress", calibrated, parts, "--images", 6, "--defects", 3, "--device", "cpu")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert "a copy of another: 1 images" in err
    assert re.search(r"worst: .+ are false alarms", err)
    folder = calibrated / "stress"
    assert sorted(path.name for path in folder.iterdir()) == list(FILES)
    record = json.loads((folder / "stress.json").read_text())
    assert record["command"] == f"clipada stress {calibrated} {parts} --images 6 --defects 3 --device cpu"
    assert record["perturbations"][0]["perturbation"] == "none"
    page = (folder / "stress.html").read_text()
    assert "<svg" in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    listed = [row for row in rows if len(row) > 1 and re.match(r"\d+ of \d+", row[1])]
    assert len(listed) == len(record["perturbations"])
    stopped = [(one["false_alarms"] + one["not_inspectable"]) for one in record["perturbations"]]
    shown = [int(row[1].split()[0]) + int(row[-2]) for row in listed]
    assert shown == sorted(stopped, reverse=True)
    assert verify(calibrated).intact


def test_damaged_images_are_left_out_and_named(calibrated: Path, parts: Path) -> None:
    (parts / "plate" / "good" / "damaged.png").write_bytes(b"no image")
    result = stress(calibrated, parts, None, FEW, device="cpu")
    assert [failure.path.name for failure in result.failures] == ["damaged.png"]
    assert result.images == 10
    assert "damaged.png" in (result.folder / "stress.html").read_text()


def test_images_that_the_thresholds_come_from_are_named(clipada: Command, calibrated: Path, tmp_path: Path) -> None:
    code, _, err = clipada("stress", calibrated, tmp_path / "held", "--images", 2, "--defects", 0, "--device", "cpu")
    assert code == 0
    assert "24 of the images are those that the thresholds come from" in err


# --- refusals


def test_a_run_without_thresholds_names_the_command_that_sets_them(run_folder: Path, parts: Path) -> None:
    with pytest.raises(CalibrationError, match="not calibrated") as caught:
        stress(run_folder, parts, device="cpu")
    assert f"clipada calibrate {run_folder}" in str(caught.value)


def test_what_cannot_be_measured_is_refused(
    clipada: Command, calibrated: Path, parts: Path, products: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="good part"):
        stress(calibrated, products / "plate" / "test" / "scratch", device="cpu")
    trained = tmp_path / "finished" / "products"
    shutil.copytree(products / "plate" / "train" / "good", trained / "plate" / "good")
    with pytest.raises(ImageError, match="no image to perturb"):
        stress(calibrated, trained, device="cpu")
    save(tmp_path / "one" / "x.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "one" / "x.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match="no image can be read"):
        stress(calibrated, tmp_path / "one", device="cpu")
    for words in (
        ("stress", calibrated, tmp_path / "nothing"),
        ("stress", parts, calibrated),
        ("stress", calibrated, parts, "--out", calibrated / "config.json"),
        ("stress", calibrated, parts, "--images", "-1"),
    ):
        code, out, err = clipada(*words)
        assert (code, out) == (2, ""), err
        assert "remedy: " in err or "Usage:" in err
    assert not (calibrated / "stress").exists() or not any((calibrated / "stress").iterdir())


# --- kills


def test_a_kill_between_files_leaves_each_old_or_new(calibrated: Path, parts: Path) -> None:
    folder = stress(calibrated, parts, None, ONE, device="cpu").folder
    for change in count():
        with killed_before(change) as made:
            try:
                stress(calibrated, parts, None, ONE, device="cpu")
            except Killed:
                pass
            else:
                break
        json.loads((folder / "stress.json").read_text())
        assert (folder / "stress.html").read_text().endswith("</html>")
        assert verify(calibrated).intact
    assert set(made) >= set(FILES)


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_leaves_a_whole_run(calibrated: Path, parts: Path) -> None:
    draws = random.Random(0)
    for turn in range(20):
        running = process("stress", calibrated, parts, "--images", 3, "--defects", 1, "--device", "cpu")
        time.sleep(draws.uniform(0.5, 8))
        os.kill(running.pid, signal.SIGKILL if turn % 4 else signal.SIGINT)
        running.communicate()
        assert running.returncode in (-signal.SIGKILL, -signal.SIGINT, 130, 0), turn  # -2: while modules are imported
        assert verify(calibrated).intact
        if (calibrated / "stress" / "stress.json").exists():
            json.loads((calibrated / "stress" / "stress.json").read_text())
    done = process("stress", calibrated, parts, "--images", 3, "--defects", 1, "--device", "cpu")
    assert done.wait() == 0
    assert sorted(path.name for path in (calibrated / "stress").iterdir()) == list(FILES)
