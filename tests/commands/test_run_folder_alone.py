"""Commands that write into a run folder: one at a time, and refused before the work if it cannot be written to."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.errors import RunError
from clipada.files import LOCK, lock_folder
from clipada.inspection import Inspector
from clipada.runs import METRICS, read_run

Clipada = Callable[..., tuple[int, str, str]]

GUARANTEE = ("--false-alarm-rate", "0.5", "--confidence", "0.5")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a model is loaded."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inspector, "load", fail)
        patch.setattr("clipada.commands.export.load_model", fail)
        yield


@pytest.fixture
def read_only(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder on a read-only file system."""
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        if set(mode) & set("wax") and run_folder in path.parents:
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, mode, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    return run_folder


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("command", ["calibrate", "export"])
def test_a_read_only_run_is_refused_before_the_work(
    clipada: Clipada, read_only: Path, products: Path, command: str
) -> None:
    words = [products / "disc" / "test" / "good", *GUARANTEE] if command == "calibrate" else ["--data", products]
    code, _, err = clipada(command, read_only, *words)
    assert code == 2
    assert f"cannot write into {read_only}" in err
    assert "Read-only file system" in err
    assert "remedy: " in err


def test_a_read_only_run_is_evaluated_and_its_metrics_printed(
    clipada: Clipada, read_only: Path, products: Path
) -> None:
    code, out, err = clipada("evaluate", read_only, products)
    assert code == 2
    assert "I-AUC" in out
    assert err.index("not kept") < err.index("percent; ")
    assert not (read_only / METRICS).exists()


def test_metrics_that_cannot_be_kept_in_the_end_are_printed(
    clipada: Clipada, run_folder: Path, products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(run_folder / METRICS))

    monkeypatch.setattr("clipada.commands.evaluate.write_json", full)
    code, out, err = clipada("evaluate", run_folder, products)
    assert code == 2
    assert "I-AUC" in out
    assert "No space left on device" in err


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("command", ["calibrate", "calibrate-again", "export", "evaluate"])
def test_one_at_a_time(clipada: Clipada, run_folder: Path, products: Path, command: str) -> None:
    words = {
        "calibrate": [products / "disc" / "test" / "good", *GUARANTEE],
        "calibrate-again": ["--false-alarm-rate", 0.2],
        "export": ["--data", products],
        "evaluate": [products],
    }[command]
    with lock_folder(run_folder):
        code, out, err = clipada(command.partition("-")[0], run_folder, *words)
    assert (code, out) == (2, "")
    assert f"another process is at work in {run_folder}" in err
    assert "got: process " in err


def test_nothing_is_left_of_the_lock(clipada: Clipada, run_folder: Path, products: Path) -> None:
    assert clipada("calibrate", run_folder, products / "disc" / "test" / "good", *GUARANTEE)[0] == 0
    assert clipada("evaluate", run_folder, products)[0] == 0
    assert not (run_folder / LOCK).exists()
    assert json.loads((run_folder / METRICS).read_text())


def test_two_trainings_into_one_folder(config: Config, products: Path, tmp_path: Path) -> None:
    runtime, out = RuntimeConfig(device="cpu", workers=0), tmp_path / "new"
    with lock_folder(out), pytest.raises(RunError, match="another process is at work"):
        train(products, out, config, runtime=runtime)
    assert list(out.iterdir()) == []
    (out / LOCK).touch()  # of a training that was killed before it wrote anything
    train(products, out, config, runtime=runtime)
    assert read_run(out).training.losses
    assert not (out / LOCK).exists()


def test_a_training_that_cannot_start_leaves_no_folder(config: Config, products: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="backbone"):
        train(products, tmp_path / "new", config.updated({"backbone.name": "/nowhere"}))
    assert not (tmp_path / "new").exists()
