"""Each baseline at a size of seconds, fitted once on the two small products."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

from clipada.baselines import BASELINES, BaselineEngine, Fit
from clipada.config import (
    BackboneConfig,
    DraemConfig,
    MemoryBankConfig,
    ReconstructionConfig,
    ScheduleConfig,
    SynthesisConfig,
)
from clipada.data import Dataset, load_dataset
from tiny import write_products

RECONSTRUCTION = ReconstructionConfig(
    width=16,
    heads=2,
    feedforward=32,
    encoder_layers=1,
    decoder_layers=2,
    neighbourhood=3,
    schedule=ScheduleConfig(epochs=60, batch_size=6, learning_rate=3e-3, milestones=(50,), decay=0.1),
)
DRAEM = DraemConfig(
    width=16,
    synthesis=SynthesisConfig(anomaly_probability=0.8, lattice_exponents=3),
    schedule=ScheduleConfig(epochs=40, batch_size=6, learning_rate=2e-3, milestones=(32,), decay=0.1),
)
BRIEF = ScheduleConfig(epochs=1, batch_size=6, learning_rate=1e-3, milestones=(), decay=0.1)


@pytest.fixture
def backbone(clip_folder: Path) -> BackboneConfig:
    """The tiny CLIP, cut after its second block."""
    return BackboneConfig(name=str(clip_folder), block=2)


@pytest.fixture(scope="session")
def two_products(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The two small products. Shared by all tests: to be read only."""
    return load_dataset(write_products(tmp_path_factory.mktemp("baselines") / "products"))


@pytest.fixture(scope="session")
def fitted(two_products: Dataset, clip_folder: Path) -> Callable[[str], BaselineEngine]:
    """Every baseline of the registry by name, fitted when first asked for. Shared by all tests."""
    settings = {
        "memory-bank": MemoryBankConfig(neighbourhood=1, share=0.5),
        "zero-shot": None,
        "reconstruction": RECONSTRUCTION,
        "draem": DRAEM,
    }

    @cache
    def fit(name: str) -> BaselineEngine:
        chosen = partial(BASELINES[name], settings=settings[name])
        return chosen(two_products, BackboneConfig(name=str(clip_folder), block=2), 32, device="cpu")

    return fit


@pytest.fixture(scope="session")
def brief() -> Mapping[str, Fit]:
    """Every baseline that looks at training images, trained for one epoch if at all."""
    settings = {
        "memory-bank": MemoryBankConfig(neighbourhood=1, share=0.5),
        "reconstruction": replace(RECONSTRUCTION, schedule=BRIEF),
        "draem": replace(DRAEM, width=4, schedule=BRIEF),
    }
    return {name: partial(BASELINES[name], settings=chosen) for name, chosen in settings.items()}
