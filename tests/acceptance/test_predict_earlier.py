"""`clipada predict` started again after a kill: it says where the lines of the first call are."""

import json
import signal
from pathlib import Path

import pytest

from clipada.commands.predict import predict_outcomes
from clipada.config import HistoryConfig
from command_line import Command, noise, process
from tiny import save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        save(tmp_path / "photos" / f"{index}.png", noise(20, 24, seed=index))
    return tmp_path / "photos"


def test_the_lines_are_where_it_says(
    clipada: Command, finished_run: Path, photos: Path, tmp_path: Path, url: str
) -> None:
    out = tmp_path / "out"
    found = predict_outcomes(finished_run, photos, out, history=HistoryConfig(database=url))
    for _ in range(3):
        next(found)
    found.close()
    partial = out / "predictions.partial.jsonl"
    done = len(partial.read_text().splitlines())
    assert done >= 3
    again = clipada("predict", finished_run, photos, "--out", out, "--skip-done", "--database", url)
    assert again.code == 0, again.err
    assert len(again.records) == 6 - done
    assert f"{done} images have a verdict already and are skipped; their lines are in {partial}" in again.err
    assert f"{done} of the first 6 images have a verdict of this model in sqlite:///" in again.err
    assert "clipada history list" in again.err
    lines = [json.loads(line)["path"] for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert sorted(lines) == [str(photos / f"{index}.png") for index in range(6)]


def test_a_database_alone(clipada: Command, finished_run: Path, photos: Path, url: str) -> None:
    first = clipada("predict", finished_run, photos / "0.png", photos / "1.png", "--database", url)
    assert "already" not in first.err
    again = clipada("predict", finished_run, photos, "--database", url)
    assert "2 of the first 6 images have a verdict of this model" in again.err
    assert len(again.records) == 6
    assert "already" not in clipada("predict", finished_run, photos, "--database", f"{url}2").err
    assert "already" not in clipada("predict", finished_run, photos).err


@pytest.mark.slow
def test_after_a_kill_every_stored_verdict_can_be_found(
    clipada: Command, finished_run: Path, tmp_path: Path, url: str
) -> None:
    for index in range(300):
        save(tmp_path / "many" / f"{index:03}.png", noise(20, 24, seed=index))
    with process("predict", finished_run, tmp_path / "many", "--database", url) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGKILL)
    again = clipada("predict", finished_run, tmp_path / "many", "--database", url)
    assert "of the first 300 images have a verdict of this model" in again.err
