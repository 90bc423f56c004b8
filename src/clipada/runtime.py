"""Where a training runs, which is no part of what it is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from clipada.settings import require


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and with how many hands a training runs. Not part of what a run is."""

    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or one of several GPUs, e.g. ``cuda:1``."""

    devices: int = 1
    """Number of such devices; more than one trains by distributed data parallel."""

    workers: int | None = None
    """Processes that decode images. ``None``: one per core and device, at most 8."""

    def __post_init__(self) -> None:
        require(self.devices >= 1, "devices", "1 or more", self.devices)
        require(self.devices == 1 or ":" not in self.device, "devices", f"1 with {self.device}", self.devices)
        require(self.workers is None or self.workers >= 0, "workers", "0 or more", self.workers)

    @property
    def worker_count(self) -> int:
        """The number of decoding processes per device."""
        available = max(1, _cores() // self.devices)
        return min(8, available) if self.workers is None else self.workers

    @staticmethod
    def leads() -> bool:
        """Whether this process is the first of those that train together, started by torchrun, SLURM or Fabric."""
        together = os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")) != "1"
        first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
        return first or not together


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
