"""Tuned encoders (table 5 of the paper): only what is asked learns, and a run carries what was tuned and no more."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.info import info
from clipada.commands.train import train
from clipada.config import Config, EngineOptions, RuntimeConfig, Tune
from clipada.data import load_dataset
from clipada.engines.selection import open_engine
from clipada.engines.torch import TorchEngine
from clipada.errors import ConfigError, RunError
from clipada.inspection import Inspector
from clipada.models.clip_ada import BACKBONE, SAVED_BACKBONE, build_model
from clipada.runs import ADAPTER, CONFIG, ENCODERS, load_model, read_run, seal
from clipada.training.objective import adamw, objective, pass_losses, set_learning_rates
from clipada.training.split import select_share
from clipada.types import Progress, Sample
from run_folders import unseal

CPU = RuntimeConfig(device="cpu", workers=0)
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def tuning(config: Config, tune: Tune, **changes: object) -> Config:
    return config.updated({"training.tune": tune, "training.tune_learning_rate": 1e-3, **changes})


def towers(names: Iterable[str], prefix: str) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith(prefix)}


@pytest.fixture
def tuned(config: Config, products: Path, tmp_path: Path) -> Path:
    """A run whose two encoders were tuned."""
    return train(products, tmp_path / "tuned", tuning(config, "both"), runtime=CPU).folder


@pytest.mark.parametrize(
    ("tune", "learning"), [("none", set()), ("text", {"text"}), ("image", {"vision"}), ("both", {"text", "vision"})]
)
def test_all_that_is_asked_learns_and_nothing_else(config: Config, tune: Tune, learning: set[str]) -> None:
    config = tuning(config, tune)
    model = build_model(config)
    assert towers(model.trained_parameters(), SAVED_BACKBONE) == learning
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = adamw(model, config.training)
    masks = torch.zeros(2, 1, 32, 32)
    masks[:, :, 8:16, 8:24] = 1
    objective(pass_losses(model(torch.rand(2, 3, 32, 32)), masks, config.training), config.training).backward()
    optimizer.step()
    unreached = [name for name, value in model.trained_parameters().items() if value.grad is None]
    assert not unreached  # several devices would wait for these for ever
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert towers(changed, BACKBONE) == learning
    assert {name for name in changed if not name.startswith(BACKBONE)} == set(model.adapter_parameters())


def test_encoders_learn_at_a_rate_of_their_own_that_falls_along(config: Config) -> None:
    config = config.updated({"training.tune": "image", "training.tune_learning_rate": 1e-5})
    optimizer = adamw(build_model(config), config.training)
    rates = []
    for epoch in (1, 2):
        set_learning_rates(optimizer, config.training, epoch)
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert rates == [pytest.approx([1e-3, 1e-5]), pytest.approx([2e-4, 2e-6])]


def test_a_run_gives_back_its_tuned_encoders(tuned: Path, config: Config) -> None:
    run = read_run(tuned)
    model, original = load_model(run), build_model(config)
    assert run.backbone_sha256 == original.backbone.sha256()
    assert model.backbone.sha256() != run.backbone_sha256
    with safe_open(tuned / ADAPTER, framework="pt") as adapter, safe_open(tuned / ENCODERS, framework="pt") as encoders:
        assert set(adapter.keys()) == set(original.trained_parameters())
        for name in encoders.keys():  # noqa: SIM118
            assert torch.equal(encoders.get_tensor(name), model.trained_parameters()[name])
    assert info(tuned)["tuned encoders"].startswith("both, sha256 ")


def test_without_tuning_a_run_holds_nothing_of_clip(finished_run: Path) -> None:
    assert not (finished_run / ENCODERS).exists()
    assert "encoders" not in (finished_run / CONFIG).read_text()
    run = read_run(finished_run)
    assert load_model(run).backbone.sha256() == run.backbone_sha256


def test_killed_and_resumed_tuning_gives_the_same_encoders(tuned: Path, config: Config, products: Path) -> None:
    def kill(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    folder, asked = tuned.parent / "killed", tuning(config, "both", **{"training.checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train(products, folder, asked, runtime=CPU, report=kill)
    train(products, folder, asked, runtime=CPU, resume=True)
    for name in (ADAPTER, ENCODERS):
        assert (folder / name).read_bytes() == (tuned / name).read_bytes()


def test_other_encoders_do_not_pass_for_those_tuned(tuned: Path) -> None:
    before = read_run(unseal(tuned)).model_sha256
    content = bytearray((tuned / ENCODERS).read_bytes())
    content[-1] ^= 1
    (tuned / ENCODERS).write_bytes(content)
    with pytest.raises(RunError, match="is not the file of this run"):
        load_model(read_run(tuned))
    (tuned / CONFIG).write_text((tuned / CONFIG).read_text().replace('"encoders_sha256": "', '"encoders_sha256": "0'))
    assert read_run(tuned).model_sha256 != before  # a calibration of the model before is refused
    (tuned / ENCODERS).unlink()
    with pytest.raises(RunError, match="is incomplete"):
        read_run(tuned)


def test_an_export_carries_the_tuned_encoders(tuned: Path) -> None:
    run = read_run(tuned)
    export(tuned, "onnx")  # refuses unless it agrees with the tuned model
    exported, _ = open_engine(run, EngineOptions(name="onnx"))
    maps = exported.localize(IMAGES).maps
    np.testing.assert_allclose(maps, TorchEngine(load_model(run), "cpu").localize(IMAGES).maps, atol=1e-4)
    (tuned / CONFIG).write_text((tuned / CONFIG).read_text().replace('"encoders_sha256": "', '"encoders_sha256": "0'))
    seal(tuned)
    with pytest.raises(RunError, match="made from another adapter"):
        Inspector.load(tuned, engine="onnx")


# --- a share of the training images (figure 6)


def test_a_share_is_recorded_told_and_trained_on(config: Config, products: Path, tmp_path: Path) -> None:
    run = train(products, tmp_path / "half", config.updated({"training.image_share": 0.5}), runtime=CPU)
    assert run.training.categories == {"disc": 3, "plate": 3}
    assert run.training_sha256s is not None
    assert len(run.training_sha256s) == 6  # the other images are free to calibrate on
    assert info(run.folder)["trained on"] == "disc (3), plate (3), a share of 0.5 of the images"
    protocol = evaluate(run.folder, products, device="cpu").protocol
    assert (protocol["training_images"], protocol["image_share"]) == (6, 0.5)


def test_every_category_keeps_an_image(config: Config, products: Path, tmp_path: Path) -> None:
    asked = config.updated({"training.image_share": 0.01, "training.epochs": 2})
    assert train(products, tmp_path / "one", asked, runtime=CPU).training.categories == {"disc": 1, "plate": 1}
    assert len(load_dataset(products).train) == 12
    with pytest.raises(ConfigError, match=r"training[.]image_share"):
        config.updated({"training.image_share": 0.0})


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    shares=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5).map(sorted),
    seed=st.integers(0, 99),
)
def test_a_smaller_share_is_a_part_of_a_larger_one(counts: list[int], shares: list[float], seed: int) -> None:
    samples = [
        Sample(path=Path(f"{category}/{image}.png"), category=str(category), split="train")
        for category, count in enumerate(counts)
        for image in range(count)
    ]
    chosen = [
        select_share(samples, Config().updated({"training.image_share": share, "training.seed": seed}))
        for share in shares
    ]
    for smaller, larger in pairwise(chosen):
        assert set(smaller) <= set(larger)
    for share, kept in zip(shares, chosen, strict=True):
        sizes = [sum(sample.category == str(category) for sample in kept) for category in range(len(counts))]
        assert sizes == [max(1, round(share * count)) for count in counts]
        assert kept == [sample for sample in samples if sample in set(kept)]  # in the data set's own order
    assert select_share(samples, Config()) == samples
