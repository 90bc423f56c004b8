"""The lines "next:" that commands print lead from a trained run to a report."""

import shlex
from pathlib import Path

import pytest

from command_line import Command, Outcome


def test_each_command_names_the_next_one(
    clipada: Command, train: Command, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"HELD-OUT-GOOD-PARTS": parts / "disc" / "test" / "good", "NEW-PARTS": parts / "plate" / "test"}
    options = {"calibrate": ["--false-alarm-rate", 0.5, "--confidence", 0.5]}
    outcome, followed = train(parts), []
    while next_lines := [line for line in outcome.err.splitlines() if line.startswith("next: ")]:
        assert outcome.code == 0, outcome.err
        name, *words = shlex.split(next_lines[0].removeprefix("next: clipada "))
        followed.append(name)
        outcome = clipada(name, *(given.get(word, word) for word in words), *options.get(name, []))
        if name == "evaluate":
            require_advice(outcome)
        if name == "report":
            break
    assert followed == ["evaluate", "calibrate", "predict", "report"]
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / "report.html").is_file()


def require_advice(evaluated: Outcome) -> None:
    """Without thresholds, nothing is found or missed; the command that sets them is named."""
    assert "not calibrated, so no part is found or missed yet: run clipada calibrate " in evaluated.err
    assert "found" not in evaluated.out
