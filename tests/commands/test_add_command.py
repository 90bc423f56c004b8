"""The commands ``add`` and ``remove``: what they print, and what they refuse."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipada import calibrate, open_history, train
from clipada.config import CalibrationConfig
from growing import RUNTIME, memory_config, write_parts

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two products with a memory alone, good parts of a third, and more good parts of the first."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("plate", "disc"):
        write_parts(folder / "data" / name / "train" / "good", name, 4)
        write_parts(folder / "held-out" / name, name, 4, seed=1)
    write_parts(folder / "ring", "ring", 4)
    write_parts(folder / "dark" / "plate", "plate", 3, seed=2, light=0.7)
    config = memory_config(folder / "dinov2", filter__images=0, memory__crop=False)
    train(folder / "data", folder / "run", config, runtime=RUNTIME)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


OPTIONS = ("--device", "cpu", "--workers", 0, "--no-cache")


def test_what_was_added_and_the_next_commands_are_printed(run: Path, trained: Path, clipada: Command) -> None:
    calibrate(run, trained / "held-out", CalibrationConfig(false_alarm_rate=0.5, confidence=0.5), force=True)
    code, _, err = clipada("add", run, trained / "ring", "--product", "ring", *OPTIONS)
    assert code == 0, err
    assert "revision 1" in err
    assert "added ring (4 images)" in err
    assert "in the memory now: disc (4), plate (4), ring (4)" in err
    assert "not used any more: calibration.json" in err
    assert f"next: clipada calibrate {run}" in err
    assert f"`clipada remove {run} --last` undoes it" in err
    code, _, err = clipada("predict", run, trained / "held-out", "--device", "cpu")
    assert code == 2
    assert "run `clipada calibrate` again" in err
    code, out, err = clipada("info", run)
    assert "changed since: revision 1" in out
    assert "calibration: of another model, not used" in out
    code, _, err = clipada("remove", run, "--last")
    assert code == 0
    assert "undone:" in err
    assert "not used any more" not in err
    assert clipada("predict", run, trained / "held-out", "--device", "cpu")[0] in (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "RUN", "ring"), "it is not said what the images show"),
        (("add", "RUN", "nothing-here", "--product", "ring"), "no such file or folder"),
        (("add", "RUN"), "name images of good parts"),
        (("add", "ring", "RUN", "--product", "ring"), "did you mean: clipada add RUN ring"),
        (("remove", "RUN"), "it is not said what to remove"),
        (("remove", "RUN", "--product", "plaet"), "did you mean plate"),
        (("remove", "RUN", "--last"), "nothing to undo"),
    ],
)
def test_bad_input_is_answered(
    words: tuple[str, ...], message: str, trained: Path, clipada: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    code, _, err = clipada(*("run" if word == "RUN" else word for word in words))
    assert code == 2
    assert message.replace("RUN", "run") in " ".join(err.split())


def test_rejected_alarms_of_the_history_are_added(
    run: Path, trained: Path, clipada: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # images are kept there
    loose = CalibrationConfig(false_alarm_rate=0.5, confidence=0.5, per="product")
    calibrate(run, trained / "held-out", loose, force=True)
    database = f"sqlite:///{tmp_path / 'history.db'}"
    inspected = ("--database", database, "--keep-images", "all", "--input-check", 0, "--device", "cpu")
    assert clipada("predict", run, trained / "dark", *inspected)[0] in (0, 1)
    with open_history(database) as history:
        for entry in list(history.entries()):
            history.record_feedback(entry.id, confirmed=False, reason="the lamp")
    code, _, err = clipada("add", run, "--rejected", database, *OPTIONS)
    assert code == 0, err
    assert "3 images of rejected alarms" in err
    assert "added plate, rejected alarms (3 images)" in err
    code, _, err = clipada("add", run, "--rejected", database, *OPTIONS)  # those were of the model before
    assert code == 2
    assert "there are no rejected alarms to add" in err
