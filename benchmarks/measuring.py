"""Tools shared by the benchmarks: interleaved timing, separate processes, and a description of the machine."""

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
"""Wall-clock and processor seconds, ``(2, rounds)``."""


def conditions(threads: int, *packages: str) -> str:
    """Describe the machine, its load and the versions of libraries."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return f"{machine('cpu')}, {threads} thread{'s' * (threads > 1)}, load average {load:.1f}; {versions}"


def time_interleaved(candidates: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, Seconds]:
    """Time candidates in turn, round by round, so that other load on the machine affects all of them alike.

    Args:
        candidates: Functions by name; each is called with the number of the round.
        rounds: Number of measured rounds; one more before them is a warm-up.
    """
    seconds: dict[str, Seconds] = {name: np.zeros((2, rounds + 1)) for name in candidates}
    for index in range(rounds + 1):
        for name, candidate in candidates.items():
            started = np.array([time.perf_counter(), time.process_time()])
            candidate(index)
            seconds[name][:, index] = np.array([time.perf_counter(), time.process_time()]) - started
    return {name: values[:, 1:] for name, values in seconds.items()}


def in_new_process(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Run a function in a new process; return its result and the process's peak memory in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_weighed, (work, arguments))


def _weighed(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    result = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result, peak / 2**20 if sys.platform == "darwin" else peak / 2**10
