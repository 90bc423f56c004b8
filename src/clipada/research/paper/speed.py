"""How fast a run inspects and how fast it trains, measured on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.devices import find_device, machine
from clipada.files import read_json, write_json
from clipada.inspection import Inspector
from clipada.runs import Run
from clipada.types import Engine

SPEED = "speed.json"
SECONDS = 1.0
"""Each batch size is timed for at least this long, and for three calls."""

LARGEST_BATCH = 256
"""No larger batch is tried."""

PATIENCE = 10.0
"""Seconds that a call may take for a larger batch still to be tried."""

WARM_UP_STEPS = 1
TRAINING_STEPS = 3
"""Steps of a training that are timed, after those that are not."""

HOW = (
    "images/s of the model alone, from pixels in memory to maps in memory, random pixels at the input size; median "
    "of at least three calls and one second after a warm-up call; batch sizes doubled while that helps"
)
"""What a measured speed is."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images per second.

    Attributes:
        rates: By batch size.
        machine: Processor or GPU.
        engine: Engine and arithmetic.
        how: What was timed.
    """

    rates: dict[int, float]
    machine: str
    engine: str
    how: str = HOW

    @property
    def best_batch(self) -> int:
        """The batch size with the highest rate."""
        return max(self.rates, key=lambda size: self.rates[size])


def run_speed(run: Run, device: str, backbone: str) -> Speed:
    """A run's speed on this machine: as measured here before, or measured now and kept in its folder.

    Raises:
        RunError: What was kept is damaged.
        BackboneError: The backbone is missing or another one.
    """
    path, where = run.folder / SPEED, machine(find_device(device).type)
    if path.exists():
        values = read_json(path, "delete it, to measure again")
        if values.get("machine") == where:
            return Speed(**(values | {"rates": {int(size): rate for size, rate in values["rates"].items()}}))
    inspector = Inspector.load(run, backbone=backbone, engine="torch", device=device, calibrated=False)
    speed = Speed(rates=measure_rates(inspector.engine), machine=where, engine=inspector.engine_name)
    write_json(path, asdict(speed))
    return speed


def measure_rates(engine: Engine) -> dict[int, float]:
    """Images per second by batch size: 1, 2, 4, ... until two in a row are no faster, or a call takes too long."""
    rates: dict[int, float] = {}
    for size in (2**power for power in range(LARGEST_BATCH.bit_length())):
        try:
            rates[size] = size / _seconds(engine, size)
        except (MemoryError, RuntimeError) as error:  # PyTorch's own errors for too little memory are RuntimeErrors
            if size == 1 or "memory" not in str(error).lower():
                raise
            break
        best = max(rates, key=lambda one: rates[one])
        if size >= 4 * best or size / rates[size] > PATIENCE:
            break
    return rates


def training_rate(dataset: Dataset, config: Config, runtime: RuntimeConfig) -> float:
    """Images per second of the first steps of a training, reading and synthesis included; nothing of it is kept.

    Raises:
        DatasetError: None of the images can be read.
        BackboneError: The backbone cannot be loaded.
    """
    from clipada.models.clip_ada import build_model
    from clipada.training import fit, launch

    steps = WARM_UP_STEPS + TRAINING_STEPS
    wanted = steps * config.training.batch_size
    samples = dataset.train[:: max(1, len(dataset.train) // wanted)][:wanted]
    epochs = ceil(steps / ceil(len(samples) / config.training.batch_size))
    short = config.updated(
        {"training.epochs": epochs, "training.milestones": (), "training.checkpoint_seconds": float("inf")}
    )
    times: list[float] = []
    with TemporaryDirectory() as folder:
        fabric = launch(short.training, runtime, Path(folder))
        fit(
            fabric,
            build_model(short),
            samples,
            short,
            Path(folder),
            runtime=runtime,
            report=lambda _: times.append(time.monotonic()),
        )
    timed = times[WARM_UP_STEPS - 1 :]
    return (len(timed) - 1) * config.training.batch_size / (timed[-1] - timed[0])


def _seconds(engine: Engine, size: int) -> float:
    """The median time of a call with ``size`` images."""
    shape = (size, engine.image_size, engine.image_size, 3)
    images: Any = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.localise_passes(images)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        started = time.perf_counter()
        engine.localise_passes(images)
        times.append(time.perf_counter() - started)
    return median(times)
