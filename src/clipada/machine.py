"""The machine in words, for the record beside every figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine(device: str) -> str:
    """The processor or GPU in words."""
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
