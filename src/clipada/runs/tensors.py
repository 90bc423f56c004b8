"""Trained parameters in a safetensors file: written atomically, and loaded only if names and shapes match."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.errors import RunError
from clipada.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_parameters(path: Path, parameters: Mapping[str, Tensor], **metadata: str) -> None:
    """Write parameters to ``path`` by name, with ``metadata`` in the file's header."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in parameters.items()}
    with atomic_write(path) as aside:
        aside.write_bytes(save(tensors, metadata=metadata))


def load_parameters(path: Path, parameters: Mapping[str, nn.Parameter], remedy: str) -> None:
    """Load the values of ``parameters`` from ``path``.

    Raises:
        RunError: The file is damaged or has other names or shapes (then with ``remedy``), or values are not finite.
    """
    import torch

    tensors = read_tensors(path, remedy)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    wanted = {name: tuple(value.shape) for name, value in parameters.items()}
    if found != wanted:
        raise RunError(
            f"{path.stem} {path} does not fit its config.json", expected=str(wanted), got=str(found), remedy=remedy
        )
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(tensors[name])


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """Read all values of a file by name.

    Raises:
        RunError: The file is damaged (then with ``remedy``), or contains values that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path.stem} {path} cannot be read", got=str(error), remedy=remedy) from error
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise RunError(
            f"{path.stem} {path} contains values that are not finite",
            got=", ".join(broken),
            remedy="train again, with a lower training.learning_rate",
        )
    return tensors


def count_values(path: Path) -> int:
    """Count the numbers in a safetensors file without loading them."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
