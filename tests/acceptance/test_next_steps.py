"""The lines "next:" that commands print lead from a trained run to a report."""

import shlex
import shutil
from pathlib import Path

import pytest

from command_line import Command


def test_each_command_names_the_next_one(
    clipada: Command, train: Command, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, others = parts / "disc" / "test" / "good", parts / "plate" / "test"
    given = {"HELD-OUT-GOOD-PARTS": good, "PHOTOS": parts, "NEW-PARTS": others}
    options = {"calibrate": ["--false-alarm-rate", 0.5, "--confidence", 0.5]}
    outcome, followed = train(parts), []
    while next_lines := [line for line in outcome.err.splitlines() if line.startswith("next: ")]:
        assert outcome.code == 0, outcome.err
        name, *words = shlex.split(next_lines[0].removeprefix("next: clipada "), comments=True)
        followed.append(name)
        outcome = clipada(name, *(given.get(word, word) for word in words), *options.get(name, []))
        if name == "report":
            break
    assert followed == ["calibrate", "evaluate", "predict", "report"]
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / "report.html").is_file()


def test_without_thresholds_the_command_that_sets_them_is_named(
    clipada: Command, finished_run: Path, parts: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    evaluated = clipada("evaluate", run, parts)
    assert f"not calibrated, so no part is found or missed yet: run clipada calibrate {run}" in evaluated.err
    assert "found" not in evaluated.out
    assert f"next: clipada calibrate {run} " in evaluated.err
    assert f"run clipada calibrate {run}" in clipada("protocol", run).err
