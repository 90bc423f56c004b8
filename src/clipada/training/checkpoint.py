"""Checkpoints: trained parameters, optimizer and step in one safetensors file, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipada.errors import RunError
from clipada.files import atomic_write

CHECKPOINT = "checkpoint.safetensors"


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
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"checkpoint {path} is damaged", got=str(error), remedy="delete it to train from the start"
        ) from error
    if metadata.get("identity") != identity:
        raise RunError(
            f"checkpoint {path} belongs to another training",
            expected="the same settings, images and backbone as when it was written",
            remedy="resume with the same options as when it began, or train into another folder",
        )
    _restore(state, optimizer, tensors)
    return int(metadata["step"])


def _restore(state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[f"model.{name}"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            moments.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
