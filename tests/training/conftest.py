"""Training images."""

from pathlib import Path

import pytest

from clipada.data import load_dataset
from clipada.types import Sample


@pytest.fixture
def samples(products: Path) -> tuple[Sample, ...]:
    return load_dataset(products).train
