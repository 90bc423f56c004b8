"""Inference speed of a run, measured on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from clipada.config.schema import build, require
from clipada.devices import find_device, machine
from clipada.errors import ConfigError, RunError
from clipada.files import read_json, write_json
from clipada.inspection import Inspector
from clipada.runs import Run
from clipada.runs.records import damaged
from clipada.types import Engine

SPEED = "speed.json"
SECONDS = 1.0
"""Shortest time that each batch size is timed for, in seconds; at least three calls."""

LARGEST_BATCH = 256
"""Largest batch size to try."""

PATIENCE = 10.0
"""Longest call, in seconds, after which a larger batch is still tried."""

HOW = (
    "images/s of the model alone, from pixels in memory to maps in memory, random pixels at the input size; median "
    "of at least three calls and one second after a warm-up call; batch sizes doubled while that helps"
)
"""Description of the measurement, written with it."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images per second.

    Attributes:
        rates: By batch size.
        machine: Processor or GPU.
        engine: Engine and arithmetic.
        how: Description of the measurement.
    """

    rates: dict[int, float]
    machine: str
    engine: str
    how: str = HOW

    @property
    def best_batch(self) -> int:
        """Batch size with the highest rate."""
        return max(self.rates, key=lambda size: self.rates[size])


def run_speed(run: Run, device: str, backbone: str) -> Speed:
    """Return a run's speed on this machine: as measured earlier, or measured now and saved in its folder.

    Raises:
        RunError: The saved measurement is damaged.
        BackboneError: The backbone is missing or is a different one.
    """
    path, where = run.folder / SPEED, machine(find_device(device).type)
    if path.exists():
        remedy = "delete it, to measure again"
        content = read_json(path, remedy)
        if content.get("machine") == where:
            return _saved(path, content, remedy)
    inspector = Inspector.load(run, backbone=backbone, engine="torch", device=device, calibrated=False)
    speed = Speed(rates=measure_rates(inspector.engine), machine=where, engine=inspector.engine_name)
    write_json(path, asdict(speed))
    return speed


def _saved(path: Path, content: dict[str, Any], remedy: str) -> Speed:
    """Return the speed that the content of a file is of; raise ``RunError`` if it is damaged."""
    try:
        speed: Speed = build(Speed, content, "", "field")
        rates = {int(size): rate for size, rate in speed.rates.items()}
        require(bool(rates), "rates", "a batch size or more", rates, "field")
        return replace(speed, rates=rates)
    except ConfigError as error:
        raise damaged(path, error, remedy) from error
    except ValueError as error:
        raise RunError(f"{path} is damaged", got=f"field rates: {error}", remedy=remedy) from error


def measure_rates(engine: Engine) -> dict[int, float]:
    """Measure images per second at batch sizes 1, 2, 4, ... until two are no faster or a call takes too long."""
    rates: dict[int, float] = {}
    for size in (2**power for power in range(LARGEST_BATCH.bit_length())):
        try:
            rates[size] = size / _seconds(engine, size)
        except (MemoryError, RuntimeError) as error:  # PyTorch raises RuntimeError when memory is short
            if size == 1 or "memory" not in str(error).lower():
                raise
            break
        best = max(rates, key=lambda one: rates[one])
        if size >= 4 * best or size / rates[size] > PATIENCE:
            break
    return rates


def _seconds(engine: Engine, size: int) -> float:
    """Return the median time of a call with ``size`` images."""
    shape = (size, *engine.size, 3)
    images: Any = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.localize(images)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        started = time.perf_counter()
        engine.localize(images)
        times.append(time.perf_counter() - started)
    return median(times)
