"""Each baseline at a size of seconds, fitted once on the two small products."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

from brief_baselines import BRIEF, DRAEM, RECONSTRUCTION
from clipada.config import (
    BackboneConfig,
    MemoryBankConfig,
)
from clipada.data import Dataset, load_dataset
from clipada.research.baselines import BASELINES, BaselineEngine, Fit
from tiny import write_products


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
