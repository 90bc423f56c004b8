"""Devices by name, and the machine's name for the record of every measurement."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def package_version() -> str:
    """Return the version of clipada that is installed."""
    from importlib.metadata import version  # slow to import, and every command imports this module

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
    features = " ".join(cpu_features())
    return f"{_processor()}, {os.cpu_count()} cores" + (f", {features}" if features else "")


def cpu_features() -> tuple[str, ...]:
    """Return the instruction sets of the processor that decide about speed, e.g. ``("AVX2", "AVX-512", "VNNI")``.

    Empty where the operating system does not list them.
    """
    flags = set(_cpu_line("flags").split())
    return tuple(name for name, flag in _FEATURES.items() if flag in flags)


def is_faster_in_bfloat16(device: torch.device) -> bool:
    """Return True if a device computes faster in bfloat16 than in float32.

    Among CPUs these are those with AMX, if PyTorch uses AVX-512 at all (``ATEN_CPU_CAPABILITY``). With AVX512-BF16
    alone a training step of a vision transformer took 1.3 to 1.5 times as long as in float32, measured on an Intel Xeon
    with PyTorch 2.13; without either, bfloat16 is emulated and takes 6 to 22 times as long.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return (
        device.type == "cpu"
        and "AMX" in cpu_features()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    )


_FEATURES = {"AVX2": "avx2", "AVX-512": "avx512f", "VNNI": "avx512_vnni", "BF16": "avx512_bf16", "AMX": "amx_bf16"}
"""Flags of Linux by the names of the instruction sets."""


def _processor() -> str:
    return _cpu_line("model name") or platform.processor() or platform.machine()


def _cpu_line(name: str) -> str:
    """Return what Linux says of the first processor under a name; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
