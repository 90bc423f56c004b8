"""Throughput of each run: measured in its first steps, or scaled from one given throughput."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.devices import find_device, machine
from clipada.research.paper.baselines import BaselineRun
from clipada.research.paper.costs import baseline_cost, inference_passes, training_passes
from clipada.research.paper.experiments import MAIN, VARIANTS, Experiment
from clipada.research.paper.trials import ThroughputEstimate, baseline_throughput, training_throughput


class ThroughputSource(Protocol):
    """Source of the throughput of runs."""

    @property
    def basis(self) -> str:
        """Origin of the estimates, for a person."""
        ...

    def estimate(self, run: Experiment | BaselineRun) -> ThroughputEstimate:
        """Return the throughput of a run."""
        ...


class ScaledThroughput:
    """Throughput scaled from that of the main variant by the relative costs of ``costs``.

    Args:
        images_per_second: Of a training with one refinement pass and frozen encoders.
        dataset: The images to learn from.
    """

    def __init__(self, images_per_second: float, dataset: Dataset) -> None:
        self.images_per_second = images_per_second
        self.dataset = dataset

    @property
    def basis(self) -> str:
        """The given throughput."""
        return (
            f"{self.images_per_second:g} images/s with one refinement pass, as given; other runs scaled roughly, by "
            "their passes through the backbone"
        )

    def estimate(self, run: Experiment | BaselineRun) -> ThroughputEstimate:
        """Scale the given throughput to a run."""
        main = run.config.updated({**VARIANTS[MAIN], "training.tune": "none"})
        passes_per_second = self.images_per_second * training_passes(main)
        if isinstance(run, Experiment):
            return ThroughputEstimate(
                learning=passes_per_second / training_passes(run.config),
                scoring=passes_per_second / inference_passes(run.config),
            )
        cost = baseline_cost(run.name, run.settings)
        return ThroughputEstimate(
            learning=passes_per_second / (cost.learning or cost.scoring),
            scoring=passes_per_second / cost.scoring,
            fixed_seconds=cost.reading * len(self.dataset.train) / passes_per_second,
        )


class MeasuredThroughput:
    """Throughput of a few steps of each kind of run on this device; nothing of these runs is kept.

    Args:
        dataset: The images to learn from.
        runtime: Device and workers.
        report: Called with the name of each run that is timed.
    """

    def __init__(self, dataset: Dataset, runtime: RuntimeConfig, report: Callable[[str], None]) -> None:
        self.dataset = dataset
        self.runtime = runtime
        self.report = report
        self.known: dict[object, ThroughputEstimate] = {}

    @property
    def basis(self) -> str:
        """The device."""
        return f"images/s measured on {machine(find_device(self.runtime.device).type)}"

    def estimate(self, run: Experiment | BaselineRun) -> ThroughputEstimate:
        """Measure the throughput of a run, unless another run of the same kind was measured."""
        kind = _kind(run.config) if isinstance(run, Experiment) else run.name
        if kind not in self.known:
            self.report(run.variant if isinstance(run, Experiment) else run.name)
            self.known[kind] = self._measure(run)
        return self.known[kind]

    def _measure(self, run: Experiment | BaselineRun) -> ThroughputEstimate:
        if isinstance(run, BaselineRun):
            return baseline_throughput(run, self.dataset, self.runtime)
        return training_throughput(self.dataset, run.config, self.runtime)


def _kind(config: Config) -> tuple[int, str, bool]:
    """Return the settings that determine the cost per image of a training: trainings that share them are timed once."""
    return config.model.refinements, config.training.tune, config.model.detach_attention
