"""Settings that are no part of what a run is: training's devices, engines, what an export keeps to, the demo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from clipada.config.schema import require

RuntimeName = Literal["onnx", "openvino"]
EngineName = Literal["torch", "onnx", "openvino"]
EnginePrecision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and with how many hands a training runs. Not part of what a run is."""

    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or one of several GPUs, e.g. ``cuda:1``."""

    devices: int = 1
    """Number of such devices on each machine; more than one train by distributed data parallel. Where torchrun or SLURM
    started the processes, their number counts, and this need not be said."""

    nodes: int = 1
    """Number of machines that train together. Only torchrun and SLURM start processes on several."""

    workers: int | None = None
    """Processes that decode images. ``None``: one per core and device, at most 8."""

    compile: bool = False
    """Whether the model is compiled (``torch.compile``): a minute or more before the first step, faster steps after it,
    the same but for rounding. It pays in trainings of an hour and more on a GPU."""

    channels_last: bool | None = None
    """Whether images and convolutions lie in memory with a pixel's channels side by side: what the matrix units of GPUs
    take, the same but for rounding. ``None``: on a GPU."""

    def __post_init__(self) -> None:
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
        """Whether this process is the first of those that train together, started by torchrun, SLURM or Fabric."""
        together = os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")) != "1"
        first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
        return first or not together


def _started() -> tuple[int, int] | None:
    """Processes per machine, and machines, that torchrun or SLURM's ``srun`` started; ``None`` for neither."""
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
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What looks at images, and with how many hands. Not part of what a run is."""

    name: EngineName | None = None
    """``torch``, or the runtime of an export. ``None``: torch if it is installed, else an export that is there."""

    precision: EnginePrecision | None = None
    """Arithmetic. ``None``: float32 in torch; of exports the most precise that is there."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda:0``, ``tensorrt``, ``gpu`` (OpenVINO's name for Intel's) or what the runtime calls it.
    ``auto``: torch takes a GPU if there is one, the runtimes of exports take the CPU."""

    threads: int | None = None
    """Threads of an export's runtime. ``None``: one for each core."""

    streams: int = 1
    """A batch is cut into this many parts that an export looks at side by side, each with its share of the threads."""

    shortcut: bool = False
    """Whether an export refines hot patches alone. The error this brought when it was exported is stated there."""

    cascade: bool = False
    """Whether an export refines only images whose coarse map has a pixel that is warm enough. The largest change of a
    score when it was exported, and how seldom others exceed it, are stated there."""

    def __post_init__(self) -> None:
        require(self.threads is None or self.threads >= 1, "threads", "1 or more", self.threads)
        require(self.streams >= 1, "streams", "1 or more", self.streams)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What an export must keep to, compared with the model in PyTorch on real images."""

    images: int = 48
    """How many images are compared, spread evenly over the data set."""

    fp32_error: float = 1e-4
    """Largest difference of a raw map's pixel, float32."""

    half_error: float = 1e-2
    """The same for float16 and bfloat16."""

    image_auroc_loss: float = 0.005
    """The most that int8 may lose, where test images have labels."""

    pixel_ap_loss: float = 0.01
    """The same of the pixel average precision."""

    rank_correlation: float = 0.99
    """The least Spearman correlation of int8's image scores with the model's, where there are no labels."""

    calibration_images: int = 96
    """Training images, spread evenly, that set the ranges of int8."""

    shortcut_error: float = 0.05
    """Largest difference that may come of not refining cold patches: of a normal image's anomaly map, and of any
    image's score. Also the largest of any image's score that may come of not refining cool images."""

    shortcut_images: int = 96
    """Training images, spread evenly, each as it is and with a synthetic anomaly: half choose below which attention a
    patch is cold, by half of the error; the others judge it."""

    shortcut_least: int = 40
    """With fewer images than this, nothing is left out: too few to judge by."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How many parts of each demo product are photographed."""

    train: int = 100
    """Good parts to train on."""

    good: int = 20
    """Good parts to test on."""

    defective: int = 8
    """Defective parts to test on, of each kind of defect."""

    held_out: int = 60
    """More good parts of each product, to calibrate on: 59 let a promise of 5 % be kept with 95 % confidence."""

    false_alarm_rate: float = 0.05
    """The share of each product's good parts that may be called defective."""

    seed: int = 0
    """Another seed, other parts."""

    def __post_init__(self) -> None:
        for name in ("train", "good", "defective", "held_out"):
            require(getattr(self, name) >= 1, f"demo.{name}", "1 or more", getattr(self, name))
        require(self.seed >= 0, "demo.seed", "0 or more", self.seed)
