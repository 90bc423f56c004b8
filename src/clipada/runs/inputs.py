"""The file of a run's input check: statistics and descriptors of training images, by product."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipada.calibration.image_statistics import STATISTICS
from clipada.calibration.input_check import InputCheck, ProductInputs
from clipada.config import InputCheckConfig
from clipada.errors import RunError
from clipada.files import atomic_write
from clipada.runs.contents import INPUT_CHECK
from clipada.runs.description import COPY_AGAIN

_PRODUCTS = "products"


def write_input_check(folder: Path, products: Mapping[str, ProductInputs]) -> None:
    """Write what the input check knows of a run's training images; descriptors are stored as float16."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[np.generic]] = {}
    for number, inputs in enumerate(products.values()):
        tensors[f"{number}.statistics"] = np.ascontiguousarray(inputs.statistics, np.float32)
        for name, vectors in (("descriptors", inputs.descriptors), ("blank", inputs.blank)):
            if vectors is not None:
                tensors[f"{number}.{name}"] = np.ascontiguousarray(vectors, np.float16)
    with atomic_write(folder / INPUT_CHECK) as aside:
        aside.write_bytes(save(tensors, metadata={_PRODUCTS: json.dumps(list(products))}))


def find_input_check(folder: Path, settings: InputCheckConfig | None = None) -> InputCheck | None:
    """Read the input check of a run folder.

    Returns:
        ``None`` if the settings switch the check off, or for a run of a version that had none.

    Raises:
        RunError: The file is damaged.
    """
    settings = settings or InputCheckConfig()
    path = folder / INPUT_CHECK
    if not settings.rate or not path.exists():
        return None
    with _damaged(path):
        return InputCheck(_read(path), settings)


def _read(path: Path) -> dict[str, ProductInputs]:
    """Read the products; raise an error of any type for a damaged file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        names = json.loads(file.metadata()[_PRODUCTS])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ValueError("no list of products")
    return {name: _inputs(tensors, number) for number, name in enumerate(names)}


def _inputs(tensors: Mapping[str, NDArray[np.generic]], number: int) -> ProductInputs:
    """Return one product; raise ``ValueError`` or ``KeyError`` unless its tensors fit together."""
    statistics = np.asarray(tensors[f"{number}.statistics"], np.float64)
    if statistics.ndim != 2 or not len(statistics) or statistics.shape[1] != len(STATISTICS):
        raise ValueError(f"statistics of shape {statistics.shape}")
    if not np.isfinite(statistics).all():
        raise ValueError("statistics that are not finite")
    if f"{number}.descriptors" not in tensors:
        return ProductInputs(statistics=statistics)
    known, blank = (_unit(tensors[f"{number}.{name}"]) for name in ("descriptors", "blank"))
    if known.shape[1] != blank.shape[1]:
        raise ValueError(f"descriptors of {known.shape[1]} and {blank.shape[1]} values")
    return ProductInputs(statistics=statistics, descriptors=known, blank=blank)


def _unit(vectors: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return vectors at unit length again: float16 has rounded them."""
    values = np.asarray(vectors, np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"descriptors of shape {values.shape}")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise ValueError("descriptors that are not finite, or zero")
    unit: NDArray[np.float32] = values / lengths
    return unit


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn any error in the block into a ``RunError``; those of safetensors for damaged files have many classes."""
    try:
        yield
    except Exception as error:
        got = str(error).strip() or type(error).__name__
        expected = "statistics and descriptors of training images"
        raise RunError(f"{path} is damaged", expected=expected, got=got, remedy=COPY_AGAIN) from error
