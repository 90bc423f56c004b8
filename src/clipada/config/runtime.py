"""Settings of the machine that trains: devices and workers. They are no part of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass

from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and workers of a training."""

    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or one of several GPUs, e.g. ``cuda:1``."""

    devices: int = 1
    """Number of such devices on each machine; several train by distributed data parallel. If torchrun or SLURM started
    the processes, their number counts and this can be left out."""

    nodes: int = 1
    """Number of machines that train together. Only torchrun and SLURM start processes on several."""

    workers: int | None = None
    """Processes that decode images. ``None``: one per core and device, at most 8."""

    compile: bool = False
    """True to compile the model (``torch.compile``): a minute or more before the first step, faster steps after it, the
    same result but for rounding. Worth it for trainings of an hour or more on a GPU."""

    channels_last: bool | None = None
    """True for the channels-last memory format of images and convolutions, which the matrix units of GPUs take; the
    same result but for rounding. ``None``: on a GPU."""

    cache_gigabytes: float = 8.0
    """Size of the cache on disk of a frozen backbone's tokens, which makes a second training of the same images fast;
    0 for none. Only a memory uses it (``memory.rows``)."""

    def __post_init__(self) -> None:
        require(self.cache_gigabytes >= 0, "cache_gigabytes", "0 or more", self.cache_gigabytes)
        require(self.devices >= 1, "devices", "1 or more", self.devices)
        require(self.nodes >= 1, "nodes", "1 or more", self.nodes)
        require(self.devices == 1 or ":" not in self.device, "devices", f"1 with {self.device}", self.devices)
        require(self.workers is None or self.workers >= 0, "workers", "0 or more", self.workers)

    @property
    def worker_count(self) -> int:
        """The number of decoding processes per device."""
        available = max(1, cores() // self.together[0])
        return min(8, available) if self.workers is None else self.workers

    @property
    def decoders(self) -> int:
        """Number of threads that decode images outside the training loop."""
        return max(1, self.worker_count)

    @property
    def together(self) -> tuple[int, int]:
        """Devices on each machine, and machines, that train together.

        Raises:
            ConfigError: torchrun or SLURM started others than asked for, or not as many on each machine.
        """
        started, asked = _started(), (self.devices, self.nodes)
        if started is None:
            require(self.nodes == 1, "nodes", "1, unless torchrun or SLURM starts the processes", self.nodes)
            return asked
        require(asked in ((1, 1), started), "devices, nodes", f"{started}, as they were started, or left out", asked)
        return started

    @staticmethod
    def is_rank_zero() -> bool:
        """Return True in the first of the processes that torchrun, SLURM or Fabric started together."""
        together = os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")) != "1"
        first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
        return first or not together


def _started() -> tuple[int, int] | None:
    """Return processes per machine and machines that torchrun or SLURM's ``srun`` started; ``None`` for neither."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        world, each = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    elif "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        world, machines = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
        each = -(-world // machines)
    else:
        return None
    require(world % each == 0, "devices", "as many processes on each machine", f"{world} in all, {each} on this one")
    return each, world // each


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
