"""Devices by name, and the machine's name for the record of every measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def package_version() -> str:
    """Return the version of clipada that is installed."""
    return version("clipada")


def find_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and the like.

    Raises:
        ConfigError: This machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # some devices, e.g. meta, have no values: this raises
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"no device {name!r}", expected="auto, cpu, cuda, cuda:1, ...", got=str(error)) from error
    return device


def to_tensor(images: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """Move RGB images to a device as the model takes them.

    Args:
        images: ``(B, H, W, 3)``, values 0..255.
        device: The target.

    Returns:
        ``(B, 3, H, W)`` float32, values 0..1.
    """
    import torch

    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255


def machine(device: str) -> str:
    """Return the name of the processor or GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
