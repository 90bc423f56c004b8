"""`clipada train --resume`."""

import json
import shutil
from pathlib import Path

import pytest

from clipada import train as train_run
from clipada.config import Config, RuntimeConfig
from clipada.config.overrides import asked_config
from clipada.data import load_dataset
from clipada.runs import ADAPTER, CARD, CONFIG, PLAN
from clipada.training.checkpoint import CHECKPOINT
from clipada.training.recipe import Recipe
from clipada.training.resume import TrainingJob, prepare_training
from clipada.types import Progress
from command_line import TINY_SETTINGS, Command

CPU = RuntimeConfig(device="cpu", workers=0)


def tiny_quick(clip_folder: Path) -> Config:
    """The settings of `clipada train` with the options in ``TINY``, which keeps every step."""
    settings = [*TINY_SETTINGS, "training.checkpoint_seconds=0"]
    return asked_config(Config.preset("prompt"), settings, epochs=2, backbone=str(clip_folder), refinements=0)


@pytest.fixture
def begun(parts: Path, clip_folder: Path, tmp_path: Path) -> Path:
    """A training of one product with settings of its own, interrupted in its first step."""

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    data = load_dataset(parts, categories=["disc"])
    with pytest.raises(KeyboardInterrupt):
        train_run(data, tmp_path / "new", tiny_quick(clip_folder), runtime=CPU, report=interrupt)
    return tmp_path / "new"


GO_ON = ("--resume", "--device", "cpu", "--workers", "0")


def test_resume_goes_on_with_what_was_recorded(clipada: Command, begun: Path) -> None:
    assert clipada("info", begun).err.count("clipada train --resume --out") == 1
    outcome = clipada("train", "--out", begun, *GO_ON)
    assert outcome.code == 0, outcome.err
    assert "disc: 6 train" in outcome.err
    assert "plate" not in outcome.err
    content = json.loads((begun / CONFIG).read_text())
    assert content["config"]["model"]["refinements"] == 0
    assert content["training"]["categories"] == {"disc": 6}
    assert not (begun / PLAN).exists()
    again = clipada("train", "--out", begun, *GO_ON)
    assert again.code == 0, again.err
    assert "nothing was left to train" in again.err
    assert "trained in" not in again.err


def test_resume_takes_the_same_options_again_and_data_moved_elsewhere(
    clipada: Command, train: Command, begun: Path, parts: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(parts, tmp_path / "moved")
    outcome = train(moved, "--refinements", 0, "--resume")
    assert outcome.code == 0, outcome.err
    assert json.loads((begun / CONFIG).read_text())["training"]["categories"] == {"disc": 6}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--epochs", 5], ["training.epochs 2", "training.epochs 5"]),
        (["--set", "model.similarity=dot"], ["model.similarity 'cosine'", "model.similarity 'dot'"]),
        (["--category", "plate"], ["categories ('disc',)", "categories ('plate',)"]),
        (["--preset", "mvtec"], ["model.refinements 0", "model.refinements 1", "training.epochs 800"]),
    ],
)
def test_options_that_contradict_the_recorded_ones_are_named(
    clipada: Command, begun: Path, words: list[object], named: list[str]
) -> None:
    clipada("train", "--out", begun, *GO_ON, *words).refused("contradict", *named, "leave them out")
    assert not (begun / CONFIG).exists()


def test_resume_says_what_it_lacks(clipada: Command, begun: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    clipada("train", "--out", other, *GO_ON).refused(f"no training to resume in {other}", "correct --out")
    (begun / PLAN).write_text('{"data": ')
    clipada("train", "--out", begun, *GO_ON).refused(f"{begun / PLAN} is damaged", "JSON")
    (begun / PLAN).write_text('{"data": "x"}')
    clipada("train", "--out", begun, *GO_ON).refused(f"{begun / PLAN} is damaged", "config")


def test_a_finished_run_is_not_resumed_with_other_settings(clipada: Command, run_folder: Path, parts: Path) -> None:
    told = clipada("train", parts, "--out", run_folder, "--resume", "--epochs", "77")
    assert told.code == 2
    assert "is finished, with other settings" in told.err
    assert "training.epochs 77" in told.err


def test_a_kill_before_the_model_card_is_repaired(
    clipada: Command, parts: Path, clip_folder: Path, tmp_path: Path
) -> None:
    """A process killed after ``config.json`` was written: the adapter is complete, the card is missing."""
    folder = tmp_path / "killed"
    job = prepare_training(parts, folder, tiny_quick(clip_folder))
    assert isinstance(job, TrainingJob)
    Recipe(job, CPU).train()
    assert {CONFIG, ADAPTER, CHECKPOINT, PLAN} <= {path.name for path in folder.iterdir()}
    assert not (folder / CARD).exists()
    adapter = (folder / ADAPTER).read_bytes()
    outcome = clipada("train", "--out", folder, *GO_ON)
    assert outcome.code == 0, outcome.err
    assert "trained on" in (folder / CARD).read_text()
    assert not (folder / CHECKPOINT).exists()
    assert not (folder / PLAN).exists()
    assert (folder / ADAPTER).read_bytes() == adapter
