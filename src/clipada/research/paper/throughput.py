"""How fast each run goes: measured by its first steps, or scaled from one speed that is given."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch

from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.data import Dataset
from clipada.devices import find_device, machine
from clipada.research.baselines import BaselineEngine, FitProgress
from clipada.research.baselines.coreset import greedy_coreset
from clipada.research.baselines.memory_bank import MemoryBank
from clipada.research.paper.baselines import Contender
from clipada.research.paper.experiments import MAIN, VARIANTS, Experiment
from clipada.research.paper.operations import baseline_operations, look_operations
from clipada.research.paper.speed import TRAINING_STEPS, WARM_UP_STEPS, training_rate

Cost = tuple[int, str, bool]
"""What decides a training's cost per image: refinement passes, tuned encoders, whether gradients stop at the maps."""

TRIAL_IMAGES = 32
"""Training images that a memory bank is filled from when it is timed."""

TRIAL_CHOICES = 256
"""Choices of a core-set that are timed; each costs as much as another."""

SCORED_AT_ONCE = 8
"""Images that are scored together."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Speeds of one run.

    Attributes:
        learning: Images per second while it learns.
        scoring: Images per second while it is evaluated.
        once: Seconds for all else.
    """

    learning: float
    scoring: float
    once: float = 0.0


class Pace(Protocol):
    """Knows how fast runs go."""

    @property
    def basis(self) -> str:
        """Where the rates come from, in words."""
        ...

    def rates(self, run: Experiment | Contender) -> Rates:
        """The speeds of a run."""
        ...


class ScaledPace:
    """Rates that follow from that of the main variant, by counting looks at an image or operations.

    Args:
        images_per_second: Of a training with one refinement pass and frozen encoders.
        dataset: What is learned from.
    """

    def __init__(self, images_per_second: float, dataset: Dataset) -> None:
        self.images_per_second = images_per_second
        self.dataset = dataset

    @property
    def basis(self) -> str:
        """What was given."""
        return (
            f"{self.images_per_second:g} images/s with one pass, as given; other trainings by looks at an image, "
            "baselines by their operations"
        )

    def rates(self, run: Experiment | Contender) -> Rates:
        """The speeds of a run."""
        main = self.images_per_second * looks(main_cost(run.config))
        if isinstance(run, Experiment):
            return Rates(learning=main / looks(cost_of(run.config)), scoring=main / (run.config.model.refinements + 1))
        backbone, size = run.config.backbone, run.config.model.image_size
        per_second = main * look_operations(backbone, size)
        needed = baseline_operations(run.name, run.settings, backbone, size, self.dataset)
        return Rates(
            learning=per_second / (needed.learning or needed.scoring),
            scoring=per_second / needed.scoring,
            once=needed.once / per_second,
        )


class MeasuredPace:
    """Rates of a few steps of each kind of run on this device; nothing of them is kept.

    Args:
        dataset: The images to learn from.
        runtime: Device and workers.
        report: Called with what is timed.
    """

    def __init__(self, dataset: Dataset, runtime: RuntimeConfig, report: Callable[[str], None]) -> None:
        self.dataset = dataset
        self.runtime = runtime
        self.report = report
        self.known: dict[Cost | str, Rates] = {}

    @property
    def basis(self) -> str:
        """The device."""
        return f"images/s measured on {machine(find_device(self.runtime.device).type)}"

    def rates(self, run: Experiment | Contender) -> Rates:
        """The speeds of a run, measured unless another of the same kind was."""
        kind = cost_of(run.config) if isinstance(run, Experiment) else run.name
        if kind not in self.known:
            self.report(run.variant if isinstance(run, Experiment) else run.name)
            self.known[kind] = self._measured(run)
        return self.known[kind]

    def _measured(self, run: Experiment | Contender) -> Rates:
        if isinstance(run, Contender):
            return baseline_rates(run, self.dataset, self.runtime)
        rate = training_rate(self.dataset, run.config, self.runtime)
        return Rates(learning=rate, scoring=rate * looks(cost_of(run.config)) / (run.config.model.refinements + 1))


def cost_of(config: Config) -> Cost:
    """What decides the cost per image of a training."""
    return config.model.refinements, config.training.tune, config.model.detach_attention


def main_cost(config: Config) -> Cost:
    """That of the main variant, with frozen encoders."""
    return cost_of(config.updated({**VARIANTS[MAIN], "training.tune": "none"}))


def looks(cost: Cost) -> int:
    """Passes of an image through the vision tower, there and back, in one training step.

    Each look costs one forward. Back to its input, one more, where a gradient goes on to an earlier map or to weights
    below; the weights' own gradients, where the image encoder is tuned, another one. The text tower reads one prompt
    for a whole batch and is not counted.
    """
    refinements, tune, detached = cost
    image_tuned = tune in ("image", "both")
    passes = refinements + 1
    back = passes if image_tuned else (0 if detached else refinements)
    return passes + back + (passes if image_tuned else 0)


def baseline_rates(run: Contender, dataset: Dataset, runtime: RuntimeConfig) -> Rates:
    """Fit a baseline to few images for few steps and score random pixels.

    Raises:
        DatasetError: None of the images can be read.
        BackboneError: The backbone cannot be loaded.
    """
    marks: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def mark(now: FitProgress) -> None:
        marks[now.stage].append((now.done, time.monotonic()))

    batch = _batch_size(run)
    chosen = _spread(dataset, (WARM_UP_STEPS + TRAINING_STEPS) * batch if batch else TRIAL_IMAGES)
    started = time.monotonic()
    engine = replace(run, settings=_brief(run.settings, len(chosen.train))).fitted(chosen, runtime, mark)
    fitted = time.monotonic() - started
    if isinstance(engine.detector, MemoryBank):
        return _bank_rates(engine, engine.detector, run.settings, dataset, _speed(marks["reading"]))
    scoring = _scoring_rate(engine)
    if not batch:
        return Rates(learning=scoring, scoring=scoring, once=fitted)
    reading = len(dataset.train) / (_speed(marks["reading"]) or scoring) if marks["reading"] else 0.0
    learning = batch * (_speed(marks["training"][WARM_UP_STEPS - 1 :]) or scoring / batch)
    return Rates(learning=learning, scoring=scoring, once=reading)


def _bank_rates(
    engine: BaselineEngine, detector: MemoryBank, settings: BaselinesConfig, dataset: Dataset, reading: float
) -> Rates:
    """Those of a memory bank of full size, from one that few images filled."""
    bank, config = detector.bank, settings.memory_bank
    tokens = len(bank) // min(TRIAL_IMAGES, len(dataset.train)) * len(dataset.train)
    candidates = min(config.candidates, tokens)
    count = max(config.reweighting, round(config.share * candidates))
    whole = MemoryBank(detector.clip, bank.repeat(ceil(count / len(bank)), 1)[:count], config)
    scoring = _scoring_rate(BaselineEngine(whole, engine.image_size, engine.device))
    features = torch.randn(candidates, min(bank.shape[1], config.projection), device=engine.device)
    choices = min(TRIAL_CHOICES, count)
    started = time.monotonic()
    greedy_coreset(features, choices, torch.Generator().manual_seed(0))
    choosing = (time.monotonic() - started) * count / choices
    return Rates(learning=reading or scoring, scoring=scoring, once=choosing)


def _batch_size(run: Contender) -> int:
    """Images in a step of its training; 0 for what learns without one."""
    schedule = getattr(run.settings.of(run.name), "schedule", None)
    return 0 if schedule is None else int(schedule.batch_size)


def _spread(dataset: Dataset, count: int) -> Dataset:
    """The data set with ``count`` training images at most, evenly spaced."""
    kept = dataset.train[:: max(1, len(dataset.train) // count)][:count]
    return replace(dataset, samples=(*kept, *dataset.test))


def _brief(settings: BaselinesConfig, images: int) -> BaselinesConfig:
    """Schedules of a few steps, and a bank that keeps all it is given."""

    def short(part: Any) -> Any:
        steps = ceil(images / part.schedule.batch_size)
        epochs = ceil((WARM_UP_STEPS + TRAINING_STEPS) / steps)
        return replace(part, schedule=replace(part.schedule, epochs=epochs, milestones=()))

    return replace(
        settings,
        memory_bank=replace(settings.memory_bank, share=1.0),
        reconstruction=short(settings.reconstruction),
        draem=short(settings.draem),
    )


def _speed(marks: list[tuple[int, float]]) -> float:
    """Images or steps per second between the first and the last mark; 0 where there are not two."""
    if len(marks) < 2:
        return 0.0
    (first, started), (last, ended) = marks[0], marks[-1]
    return (last - first) / max(ended - started, 1e-9)


def _scoring_rate(engine: BaselineEngine) -> float:
    """Images per second of the second of two calls."""
    shape = (SCORED_AT_ONCE, engine.image_size, engine.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.localise_passes(images)
    started = time.monotonic()
    engine.localise_passes(images)
    return SCORED_AT_ONCE / (time.monotonic() - started)
