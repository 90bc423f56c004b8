"""What the benchmarks share: contenders that take turns, processes of their own, and the conditions in words."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipada.devices import machine

Seconds = NDArray[np.float64]
"""Seconds on the wall and of the processor, ``(2, rounds)``."""


def conditions(threads: int, *packages: str) -> str:
    """The machine, its load and the versions in words."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return f"{machine('cpu')}, {threads} thread{'s' * (threads > 1)}, load average {load:.1f}; {versions}"


def taking_turns(contenders: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, Seconds]:
    """Time contenders against each other, so that another load on the machine falls on all of them.

    Args:
        contenders: By name; each is called with the number of the round.
        rounds: How many count. One goes before that does not.
    """
    seconds: dict[str, Seconds] = {name: np.zeros((2, rounds + 1)) for name in contenders}
    for index in range(rounds + 1):
        for name, contender in contenders.items():
            started = np.array([time.perf_counter(), time.process_time()])
            contender(index)
            seconds[name][:, index] = np.array([time.perf_counter(), time.process_time()]) - started
    return {name: values[:, 1:] for name, values in seconds.items()}


def alone(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Do work in a new process: its result, and the most memory the process held, in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_weighed, (work, arguments))


def _weighed(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    result = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result, peak / 2**20 if sys.platform == "darwin" else peak / 2**10
