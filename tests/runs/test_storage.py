"""The run folder: its files, loading the same model from it, and the errors for damaged ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPConfig, CLIPTextModelWithProjection, CLIPVisionModel

from clipada.commands.train import train
from clipada.config import BackboneConfig, Config, RuntimeConfig
from clipada.engines.torch import TorchEngine
from clipada.errors import BackboneError, DatasetError, RunError
from clipada.models.backbones import FrozenClip
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.prototypes import Prototypes
from clipada.report import model_card
from clipada.runs import ADAPTER, CARD, CONFIG, PROTOTYPES, Training, load_model, read_run, save_run
from clipada.training.checkpoint import CHECKPOINT
from run_folders import change_config, said
from tiny import make_clip

CPU = RuntimeConfig(device="cpu", workers=0)
RECORD = Training(
    categories={"plate": 6},
    layout="mvtec",
    unreadable=("bad.png",),
    seconds=1.5,
    images_per_second=12.25,
    losses=(0.5, 0.25),
    machine="a machine",
    normal_level=0.25,
    validation={"0": {"pixel_ap": 0.5, "aupro": None}},
)


@pytest.fixture(scope="module")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of the same shapes as the tiny one, with one weight changed."""
    folder = make_clip(tmp_path_factory.mktemp("other"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layers.0.mlp.fc1.weight" in name and "vision" in name)
    weights[name][0, 0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def images(count: int = 3, size: int = 32) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


# --- what a run folder is


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model.refinements": 0, "prompt.learnable": False},
        {"model.refinements": 2, "model.similarity": "cosine", "model.attention": "residual"},
    ],
)
def test_a_saved_model_loads_bit_by_bit(config: Config, tmp_path: Path, settings: dict[str, object]) -> None:
    config = config.updated(settings)
    model = build_model(config)
    with torch.no_grad():  # not the values that the seed would give
        for parameter in model.trained_parameters().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    saved = save_run(tmp_path / "run", model, config, RECORD)
    run = read_run(tmp_path / "run")
    assert run == saved
    assert run.training == RECORD
    assert run.config == config
    maps = TorchEngine(model, "cpu").localize(images()).maps
    np.testing.assert_array_equal(TorchEngine(load_model(run), "cpu").localize(images()).maps, maps)
    assert maps.shape == (config.model.refinements + 1, 3, 32, 32)


def test_a_run_folder_is_complete_and_contains_no_clip(finished_run: Path, clip_folder: Path) -> None:
    assert {CONFIG, ADAPTER, CARD} <= {path.name for path in finished_run.iterdir()}
    assert not (finished_run / CHECKPOINT).exists()
    model = build_model(read_run(finished_run).config)
    with safe_open(finished_run / ADAPTER, framework="pt") as file:
        assert set(file.keys()) == set(model.trained_parameters())
        assert not any(name.startswith("clip.") for name in file.keys())  # noqa: SIM118
        assert file.metadata()["backbone_sha256"] == model.backbone.sha256()
    card = (finished_run / CARD).read_text()
    for fact in ("# line3:", "disc (6), plate (6)", read_run(finished_run).backbone_sha256[:12], "32 x 32 pixels"):
        assert fact in card


def test_the_adapter_of_vit_b16_is_a_few_megabytes(clip_folder: Path, tmp_path: Path) -> None:
    """R = 1: 789,504 float32 values, 3.2 MB, and 1,024 prototypes in 8 bits, beside a CLIP of 600 MB."""
    vision = {"hidden_size": 768, "num_hidden_layers": 1, "patch_size": 16, "projection_dim": 512}
    text = {"hidden_size": 512, "num_hidden_layers": 1, "projection_dim": 512, "vocab_size": 20}
    clip_config = CLIPConfig(projection_dim=512, vision_config=vision, text_config=text)
    clip = FrozenClip(
        CLIPVisionModel(clip_config.vision_config),
        BackboneConfig(blocks=(1,)),
        ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        CLIPTextModelWithProjection(clip_config.text_config),
        AutoTokenizer.from_pretrained(clip_folder),
    )
    config = Config().updated({"prompt.prefix": "a photo of a", "backbone.block": 1})
    model = build_model(config, clip)
    one, channels = torch.tensor(1.0), torch.ones(768)
    model = model.with_memory(Prototypes(torch.zeros(1024, 768, dtype=torch.int8), channels, channels, one, one))
    run = save_run(tmp_path, model, config, RECORD)
    assert run.adapter_bytes > 4 * 789_504
    assert run.adapter_bytes + (tmp_path / PROTOTYPES).stat().st_size < 4_000_000


def test_the_backbone_may_have_moved(run_folder: Path, clip_folder: Path) -> None:
    change_config(run_folder, lambda content: content["config"]["backbone"].update(name="/gone/clip"))
    run = read_run(run_folder)
    with pytest.raises(BackboneError, match="no backbone at /gone/clip") as caught:
        load_model(run)
    assert "--backbone" in said(caught.value)
    assert run.backbone_sha256[:12] in said(caught.value)  # which of the CLIPs on this machine it was
    moved = TorchEngine(load_model(run, str(clip_folder)), "cpu").localize(images()).maps
    config = run.config.updated({"backbone.name": str(clip_folder)})
    change_config(run_folder, lambda content: content.update(config=config.to_dict()))
    stayed = TorchEngine(load_model(read_run(run_folder)), "cpu").localize(images()).maps
    np.testing.assert_array_equal(moved, stayed)


@pytest.mark.parametrize(("name", "blocks"), [("nano", (4,)), ("openai/clip-vit-large-patch14", (9,))])
def test_a_run_that_recorded_no_blocks_keeps_those_it_read(
    run_folder: Path, name: str, blocks: tuple[int, ...]
) -> None:
    change_config(run_folder, lambda content: content["config"]["backbone"].update(name=name, blocks=list(blocks)))
    written = read_run(run_folder)
    change_config(run_folder, lambda content: content["config"]["backbone"].update(blocks=None))
    unwritten = read_run(run_folder)
    assert unwritten.config.backbone.blocks == blocks
    assert unwritten.model_sha256 == written.model_sha256  # verdicts of before still name the same model


def test_another_backbone_is_refused_though_its_shapes_fit(finished_run: Path, other_clip: Path) -> None:
    run = read_run(finished_run)
    with pytest.raises(BackboneError, match="not the one this run was trained on") as caught:
        load_model(run, str(other_clip))
    found = build_model(run.config.updated({"backbone.name": str(other_clip)})).backbone.sha256()
    assert found != run.backbone_sha256
    assert run.backbone_sha256[:12] in said(caught.value)
    assert found[:12] in said(caught.value)


def test_a_backbone_given_and_missing_is_the_users_own_error(finished_run: Path) -> None:
    with pytest.raises(BackboneError, match="no backbone at /nowhere") as caught:
        load_model(read_run(finished_run), "/nowhere")
    assert "check the name" in said(caught.value)


# --- folders without a run


def test_an_unfinished_training_can_be_finished(config: Config, products: Path, tmp_path: Path) -> None:
    config, folder = config.updated({"training.checkpoint_seconds": 0.0}), tmp_path / "run"

    def stop(progress: object) -> None:
        if (folder / CHECKPOINT).exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(products, folder, config, runtime=CPU, report=stop)
    with pytest.raises(RunError, match="no run in") as caught:
        read_run(folder)
    assert "unfinished training" in said(caught.value)
    assert "--resume" in said(caught.value)
    with pytest.raises(RunError, match="in the way") as caught:
        train(products, folder, config, runtime=CPU)
    assert "--resume" in said(caught.value)
    run = train(products, folder, config, runtime=CPU, resume=True)
    assert run == read_run(folder)
    assert not (folder / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda _: None, "no such folder"),
        (lambda path: path.mkdir(), "no config.json"),
        (lambda path: path.write_text("x"), "a file"),
    ],
)
def test_a_folder_without_a_run_is_named(tmp_path: Path, make: Callable[[Path], object], got: str) -> None:
    make(tmp_path / "run")
    with pytest.raises(RunError, match="no run in") as caught:
        read_run(tmp_path / "run")
    assert caught.value.got == got
    assert str(tmp_path / "run") in said(caught.value)
    assert "clipada train" in said(caught.value)


def test_training_into_an_existing_run_or_file_is_refused(
    config: Config, products: Path, finished_run: Path, tmp_path: Path
) -> None:
    before = (finished_run / ADAPTER).read_bytes()
    with pytest.raises(RunError, match="in the way") as caught:
        train(products, finished_run, config, runtime=CPU)
    assert caught.value.got == "a finished run"
    assert (finished_run / ADAPTER).read_bytes() == before
    (tmp_path / "note.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(RunError, match="in the way") as caught:
            train(products, tmp_path / "note.txt", config, runtime=CPU, resume=resume)
        assert caught.value.got == "a file"


@pytest.mark.parametrize("made", [False, True])
def test_a_training_that_its_images_end_can_be_called_again_when_they_are_mended(
    config: Config, products: Path, tmp_path: Path, made: bool
) -> None:
    data, folder = tmp_path / "photos", tmp_path / "run"
    data.mkdir()
    if made:
        folder.mkdir()
    whole = sorted((products / "disc" / "train" / "good").iterdir())[:3]
    for path in whole:
        (data / path.name).write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError):
        train(data, folder, config, runtime=CPU)
    assert folder.exists() == made
    assert not made or list(folder.iterdir()) == []
    for path in whole:
        (data / path.name).write_bytes(path.read_bytes())
    assert train(data, folder, config, runtime=CPU).training.categories == {"photos": 3}


def test_resuming_a_finished_run_returns_it_unchanged(config: Config, products: Path, finished_run: Path) -> None:
    before = (finished_run / ADAPTER).stat().st_mtime_ns
    config = config.updated({"model.prototypes": 6})
    assert train(products, finished_run, config, runtime=CPU, resume=True) == read_run(finished_run)
    assert (finished_run / ADAPTER).stat().st_mtime_ns == before


def test_config_is_written_last_and_marks_a_complete_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save", fail)
    with pytest.raises(OSError, match="no space"):
        save_run(tmp_path, build_model(config), config, RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_given_by_a_relative_path_is_found_from_elsewhere(
    config: Config, products: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip_folder.parent)
    config = config.updated({"backbone.name": clip_folder.name, "training.epochs": 1, "training.milestones": ()})
    run = train(products, tmp_path / "run", config, runtime=CPU)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_model(run), ClipAda)


# --- metrics and words


def test_a_category_with_a_bar_does_not_break_the_cards_table(config: Config, tmp_path: Path) -> None:
    record = Training(**(vars(RECORD) | {"categories": {"nut|bolt": 1}}))
    card = model_card(save_run(tmp_path, build_model(config), config, record))
    assert r"| trained on | nut\|bolt (1) |" in card
