"""Checkpoints: trained parameters, optimizer and step in one safetensors file, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from clipada.errors import RunError
from clipada.files import atomic_write
from clipada.runs import CHECKPOINT


def fingerprint(*parts: object) -> str:
    """Hash plain values: two trainings with the same fingerprint give the same adapter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def save_checkpoint(
    folder: Path, state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, step: int, identity: str
) -> None:
    """Write the state after ``step`` steps to ``folder``.

    Args:
        folder: The run folder.
        state: Trained parameters by name.
        optimizer: Its state per parameter is saved, in its own order.
        step: Number of steps done.
        identity: The training's ``fingerprint``.
    """
    tensors = {f"model.{name}": value.detach() for name, value in state.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    whole = {name: value.contiguous().cpu() for name, value in tensors.items()}
    with atomic_write(folder / CHECKPOINT) as aside:
        aside.write_bytes(save(whole, metadata={"step": str(step), "identity": identity}))


def load_checkpoint(folder: Path, state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, identity: str) -> int:
    """Restore in place the state that ``folder`` holds.

    Returns:
        Number of finished steps; 0 without a checkpoint.

    Raises:
        RunError: The checkpoint is damaged or belongs to another training.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    with _naming(path), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("identity") != identity:
        raise RunError(
            f"checkpoint {path} belongs to another training",
            expected="the same settings, images and backbone as when it was written",
            remedy="resume with the same options as when it began, or train into another folder",
        )
    with _naming(path):
        step = int(metadata["step"])
        moments = _moments(tensors)
        _require_fit(state, optimizer, tensors, moments)
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[f"model.{name}"])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return step


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn any error that a damaged checkpoint causes in the block into a ``RunError``; they have many classes."""
    try:
        yield
    except Exception as error:
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(f"checkpoint {path} is damaged", got=got, remedy="delete it to train from the start") from error


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the optimizer's state of each parameter, by index and name."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            moments.setdefault(int(index), {})[key] = value
    return moments


def _require_fit(
    state: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    moments: Mapping[int, Mapping[str, Tensor]],
) -> None:
    """Raise ``ValueError`` unless the tensors have the names and shapes of the parameters that they belong to."""
    for name, value in state.items():
        found = tensors.get(f"model.{name}")
        if found is None or found.shape != value.shape:
            got = "no such tensor" if found is None else f"shape {tuple(found.shape)}"
            raise ValueError(f"model.{name}: {got} instead of shape {tuple(value.shape)}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in moments.items():
        if index not in range(len(parameters)) or values.keys() != next(iter(moments.values())).keys():
            raise ValueError(f"optimizer.{index}: {', '.join(values)}, of {len(parameters)} parameters")
        for name, value in values.items():
            if value.shape not in ((), parameters[index].shape):
                raise ValueError(f"optimizer.{index}.{name}: shape {tuple(value.shape)}")
