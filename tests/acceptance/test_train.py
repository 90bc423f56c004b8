"""`clipada train` and `synthesize`: settings, data, and words that mean nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from clipada.runs import CONFIG
from command_line import Command, noise
from file_kinds import READABLE, UNREADABLE
from tiny import save


def test_settings_reach_the_run_and_the_last_word_counts(
    clipada: Command, train: Command, products: Path, tmp_path: Path
) -> None:
    words = ["--refinements", 2, "--seed", 5, "--category", "disc", "--set", "model.refinements=0"]
    outcome = train(products, *words, "--set", "model.similarity=cosine")
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "new" / CONFIG).read_text())
    assert content["config"]["model"] | {"refinements": 0, "similarity": "cosine"} == content["config"]["model"]
    assert content["config"]["training"]["seed"] == 5
    assert content["training"]["categories"] == {"disc": 6}


def test_a_held_out_share_is_reported(train: Command, products: Path) -> None:
    outcome = train(products, "--set", "training.validation_fraction=0.34")
    assert outcome.code == 0, outcome.err
    assert "held-out images with synthetic anomalies, pass 1: " in outcome.err


def test_training_and_synthesis_leave_out_what_cannot_be_read(
    clipada: Command, train: Command, mixed: Path, tmp_path: Path
) -> None:
    trained = train(mixed)
    assert trained.code == 0, trained.err
    assert f"left out {len(UNREADABLE)} training images that could not be read" in trained.err
    record = json.loads((tmp_path / "new" / CONFIG).read_text())["training"]
    assert {Path(path).name for path in record["unreadable"]} == set(UNREADABLE)
    words = ["--out", tmp_path / "sheet", "--count", len(READABLE), "--set", "model.image_size=32"]
    drawn = clipada("synthesize", mixed, *words)
    assert drawn.code == 0, drawn.err
    assert "left out: " in drawn.err


def test_one_image_is_enough_to_train_and_to_synthesize(clipada: Command, train: Command, tmp_path: Path) -> None:
    """Its prototypes are usable: an image unlike that of the training has a higher score."""
    save(tmp_path / "one" / "part.png", noise())
    save(tmp_path / "other" / "part.png", noise(seed=1) // np.uint8(4))
    trained = train(tmp_path / "one", "--set", "model.prototypes=2")
    assert trained.code == 0, trained.err
    predicted = clipada("predict", tmp_path / "new", tmp_path / "one", tmp_path / "other", "--device", "cpu")
    assert predicted.code == 0, predicted.err
    own, other = (record["score"] for record in predicted.records)
    assert 0 < own < other <= 1
    assert clipada("synthesize", tmp_path / "one", "--out", tmp_path / "sheet", "--count", 2).code == 0


def test_images_that_are_all_unreadable_train_nothing(clipada: Command, train: Command, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / "parts" / "good").mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / "good" / f"{index}.png").write_bytes(b"")
    train(tmp_path / "parts").refused("none of the 3 training images can be read", "an empty file", "check the files")
    words = ["--out", tmp_path / "out"]
    clipada("synthesize", tmp_path / "parts", *words).refused("none of the 3 training images can be read")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "fast"], ["no preset 'fast'", "quick | prompt | accurate | demo | mvtec | visa"]),
        (["--set", "model.colour=red"], ["no setting 'model.colour'", "clipada settings colour"]),
        (["--set", "refinements=2"], ["no setting 'refinements'", "model.refinements"]),
        (["--set", "model.refinements"], ["cannot read --set model.refinements", "NAME=VALUE"]),
        (["--set", "model.refinements=two"], ["setting model.refinements cannot be read", "int", "two"]),
        (["--set", "model.similarity=euclid"], ["model.similarity", "dot | cosine", "euclid"]),
        (["--set", "model.refinements=-1"], ["model.refinements is out of range", "0 or more"]),
        (["--set", "backbone.block=4"], ["backbone.blocks is out of range", "1 to 3"]),
        (["--refinements", "-1"], ["model.refinements is out of range"]),
        (["--epochs", "0"], ["training.epochs is out of range"]),
        (["--seed", "-1"], ["training.seed is out of range"]),
        (["--devices", "0"], ["devices is out of range"]),
        (["--device", "abacus"], ["no device 'abacus'", "auto, cpu, cuda, cuda:1"]),
        (["--workers", "-2"], ["workers is out of range"]),
        (["--category", "bottle"], ["no category 'bottle'", "disc, plate"]),
        (["--layout", "coco"], ["no layout 'coco'", "kolektor | magnetic_tile | mvtec | real_iad | visa"]),
        (["--layout", "visa"], ["no data set with images", "split_csv/1cls.csv"]),
        (["--backbone", "/nowhere/clip"], ["no backbone at /nowhere/clip", "hub name"]),
        (["--backbone", "nobody/no-such-clip"], ["backbone nobody/no-such-clip", "hf download", "--backbone FOLDER"]),
        (["--textures", "/nowhere/dtd"], ["/nowhere/dtd"]),
        (["--epochs", "many"], ["Invalid value for '--epochs'"]),
        (["--colour", "red"], ["No such option: --colour"]),
    ],
)
def test_words_that_mean_nothing_are_refused(
    train: Command, parts: Path, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    train(parts, *words).refused(*said)
    assert not (tmp_path / "new" / CONFIG).exists()
