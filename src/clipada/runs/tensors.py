"""Trained parameters in a safetensors file: written atomically, and loaded only if names and shapes match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.errors import RunError
from clipada.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor, nn

NUMBERS = ("float32", "float16", "bfloat16", "float64", "int8")
"""Types of the numbers of a run: those of parameters, and that of prototypes."""


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
    with _naming(path, remedy):
        from safetensors.torch import load_file

        tensors = load_file(path)
    for name, value in tensors.items():
        got = str(value.dtype).removeprefix("torch.")
        if got not in NUMBERS:
            what = f"{path.stem} {path} contains {name} in another type of numbers"
            raise RunError(what, expected=" | ".join(NUMBERS), got=got, remedy=remedy)
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise RunError(
            f"{path.stem} {path} contains values that are not finite",
            got=", ".join(broken),
            remedy="train again, with a lower training.learning_rate",
        )
    return tensors


def read_metadata(path: Path, remedy: str) -> dict[str, str]:
    """Read the texts in a safetensors file's header.

    Raises:
        RunError: The file is damaged (then with ``remedy``).
    """
    from safetensors import safe_open

    with _naming(path, remedy), safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def count_values(path: Path, remedy: str) -> int:
    """Count the numbers in a safetensors file without loading them.

    Raises:
        RunError: The file is damaged (then with ``remedy``).
    """
    from safetensors import safe_open

    with _naming(path, remedy), safe_open(path, framework="numpy") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


@contextmanager
def _naming(path: Path, remedy: str) -> Iterator[None]:
    """Turn any error of safetensors in the block into a ``RunError``; those of damaged files have many classes."""
    try:
        yield
    except Exception as error:
        got = str(error).strip() or type(error).__name__
        raise RunError(f"{path.stem} {path} cannot be read", got=got, remedy=remedy) from error
