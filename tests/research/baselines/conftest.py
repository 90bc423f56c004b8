"""Each baseline at a size that fits in seconds, fitted once on the two small products."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from brief_baselines import BRIEF, DRAEM, RECONSTRUCTION
from clipada.config import BackboneConfig, BaselinesConfig, MemoryBankConfig
from clipada.data import Dataset, load_dataset
from clipada.research.baselines import BaselineEngine, Fit, FitContext, baseline_fits
from tiny import write_products


@pytest.fixture
def backbone(clip_folder: Path) -> BackboneConfig:
    """The tiny CLIP, cut after its second block."""
    return BackboneConfig(name=str(clip_folder), blocks=(2,))


@pytest.fixture
def context(backbone: BackboneConfig, two_products: Dataset) -> FitContext:
    """The two small products and the tiny CLIP, on the CPU."""
    return FitContext(dataset=two_products, backbone=backbone, image_size=32, device="cpu")


@pytest.fixture(scope="session")
def two_products(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The two small products. Shared by all tests: to be read only."""
    return load_dataset(write_products(tmp_path_factory.mktemp("baselines") / "products"))


@pytest.fixture(scope="session")
def fitted(two_products: Dataset, clip_folder: Path) -> Callable[[str], BaselineEngine]:
    """Every baseline of the registry by name, fitted on first use. Shared by all tests."""
    fits = baseline_fits(
        BaselinesConfig(
            memory_bank=MemoryBankConfig(neighbourhood=1, share=0.5), reconstruction=RECONSTRUCTION, draem=DRAEM
        )
    )
    backbone = BackboneConfig(name=str(clip_folder), blocks=(2,))

    @cache
    def fit(name: str) -> BaselineEngine:
        return fits[name](FitContext(dataset=two_products, backbone=backbone, image_size=32, device="cpu"))

    return fit


@pytest.fixture(scope="session")
def brief() -> Mapping[str, Fit]:
    """Every baseline, trained for at most one epoch."""
    return baseline_fits(
        BaselinesConfig(
            memory_bank=MemoryBankConfig(neighbourhood=1, share=0.5),
            reconstruction=replace(RECONSTRUCTION, schedule=BRIEF),
            draem=replace(DRAEM, width=4, schedule=BRIEF),
        )
    )
