"""`clipada predict` with names at the limit of the file system, files that are no files, and a second one at once."""

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from clipada.files import lock_folder
from command_line import Command, noise, process
from tiny import save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images of a small part."""
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, noise(20, 24))
    return tmp_path / "photos"


def test_names_of_238_to_255_bytes(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    names = [f"{'x' * (size - 4)}.png" for size in (237, 238, 243, 244, 250, 254, 255)]
    names += [f"{'é' * 124}.png", f"{'x' * 250}y.png"]
    for index, name in enumerate(names):
        save(tmp_path / "short.png", np.full((20, 24, 3), 20 * index, np.uint8))
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "short.png").rename(tmp_path / "photos" / name)
    for _ in range(2):  # the second time the same pictures are written
        outcome = clipada("predict", finished_run, tmp_path / "photos", "--out", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        assert len(outcome.records) == len(names)
        written = [path.name for path in (tmp_path / "out").iterdir()]
        assert len(written) == 2 * len(names) + 1
    assert f"{names[0]}.overlay.png" in written


def test_one_place_that_is_taken_costs_its_pictures_alone(
    clipada: Command, finished_run: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "sub").mkdir()
    save(photos / "sub" / "c.png", noise(20, 24))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("no folder")
    outcome = clipada("predict", finished_run, photos, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert len(outcome.records) == 3
    assert "no pictures of sub/c.png" in caplog.text
    assert len(list((tmp_path / "out").glob("*.map.png"))) == 2


@pytest.mark.parametrize("command", ["predict", "calibrate", "evaluate", "train"])
def test_what_is_no_regular_file_is_named_and_left_out(
    clipada: Command,
    train: Command,
    finished_run: Path,
    run_folder: Path,
    products_with_fifo: Path,
    tmp_path: Path,
    command: str,
) -> None:
    good = products_with_fifo / "disc" / "test" / "good"
    if command == "predict":
        outcome = clipada("predict", finished_run, good)
        assert [Path(record["path"]).name for record in outcome.records if "error" in record] == [
            "device.png",
            "fifo.png",
            "socket.png",
        ]
    elif command == "calibrate":
        outcome = clipada("calibrate", run_folder, good, "--false-alarm-rate", 0.5, "--confidence", 0.5)
    elif command == "evaluate":
        outcome = clipada("evaluate", run_folder, products_with_fifo, "--category", "disc")
    else:
        outcome = train(good)
    assert outcome.code == 0, outcome.err
    if command == "train":
        assert "left out 3 training images" in outcome.err
    else:
        for kind in ("a FIFO", "a socket", "a device"):
            assert f"{kind}, not a regular file" in outcome.err or command == "predict"


@pytest.fixture
def products_with_fifo(products: Path) -> Path:
    """Two products; one has a FIFO, a socket and a device among the good test parts."""
    good = products / "disc" / "test" / "good"
    os.mkfifo(good / "fifo.png")
    (good / "device.png").symlink_to("/dev/zero")
    place = Path.cwd()
    os.chdir(good)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
    os.chdir(place)
    return products


def test_two_at_once_into_one_folder(clipada: Command, finished_run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with lock_folder(out):
        clipada("predict", finished_run, photos, "--out", out).refused("another process is at work in", "process ")
        assert clipada("predict", finished_run, photos, "--out", out, "--shard", "1/2").code == 0
    assert clipada("predict", finished_run, photos, "--out", out).code == 0


@pytest.mark.slow
def test_a_killed_prediction_leaves_no_lock(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    for index in range(200):
        save(tmp_path / "photos" / f"{index:03}.png", noise(20, 24))
    out = tmp_path / "out"
    with process("predict", finished_run, tmp_path / "photos", "--out", out) as running:
        while not (out / "predictions.partial.jsonl").exists():
            time.sleep(0.05)
        clipada("predict", finished_run, tmp_path / "photos", "--out", out).refused(f"process {running.pid} on ")
        running.send_signal(signal.SIGKILL)
    outcome = clipada("predict", finished_run, tmp_path / "photos", "--out", out, "--skip-done")
    assert outcome.code == 0, outcome.err
