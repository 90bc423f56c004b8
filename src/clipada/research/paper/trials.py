"""Short trials of the runs, a few real steps each, to measure their throughput. Nothing of them is kept."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.data import Dataset
from clipada.engines.torch import TorchEngine
from clipada.models.clip_ada import build_model
from clipada.models.coreset import greedy_coreset
from clipada.research.baselines import BaselineEngine
from clipada.research.baselines.memory_bank import MemoryBank
from clipada.research.paper.baselines import BaselineRun
from clipada.training.loop import fit, launch
from clipada.types import Engine, Progress

WARM_UP_STEPS = 1
TRAINING_STEPS = 3
"""Steps of a training that are timed, after those of the warm-up."""

TRIAL_IMAGES = 32
"""Training images that fill a memory bank when it is timed."""

TRIAL_CHOICES = 256
"""Choices of a core-set that are timed; all choices take the same time."""

SCORING_BATCH = 8
"""Batch size of scoring."""


@dataclass(frozen=True, kw_only=True)
class ThroughputEstimate:
    """Expected throughput of one run.

    Attributes:
        learning: Images per second while it learns.
        scoring: Images per second while it is evaluated.
        fixed_seconds: Seconds of all other work.
    """

    learning: float
    scoring: float
    fixed_seconds: float = 0.0


def training_throughput(dataset: Dataset, config: Config, runtime: RuntimeConfig) -> ThroughputEstimate:
    """Time the first steps of a training, reading and synthesis included, and the inference of its model.

    Raises:
        DatasetError: None of the images can be read.
        BackboneError: The backbone cannot be loaded.
    """
    steps = WARM_UP_STEPS + TRAINING_STEPS
    samples = _spread(dataset, steps * config.training.batch_size).train
    epochs = ceil(steps / ceil(len(samples) / config.training.batch_size))
    short = config.updated(
        {"training.epochs": epochs, "training.milestones": (), "training.checkpoint_seconds": float("inf")}
    )
    times: list[float] = []
    model = build_model(short)
    with TemporaryDirectory() as folder:
        fabric = launch(short.training, runtime, Path(folder))
        fit(
            fabric,
            model,
            samples,
            short,
            Path(folder),
            runtime=runtime,
            report=lambda _: times.append(time.monotonic()),
        )
    timed = times[WARM_UP_STEPS - 1 :]
    learning = (len(timed) - 1) * config.training.batch_size / (timed[-1] - timed[0])
    return ThroughputEstimate(learning=learning, scoring=_scoring_throughput(TorchEngine(model, runtime.device)))


def baseline_throughput(run: BaselineRun, dataset: Dataset, runtime: RuntimeConfig) -> ThroughputEstimate:
    """Fit a baseline to few images for few steps and score random pixels.

    Raises:
        DatasetError: None of the images can be read.
        BackboneError: The backbone cannot be loaded.
    """
    marks: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def mark(now: Progress) -> None:
        marks[now.stage].append((now.done, time.monotonic()))

    batch = 0 if run.schedule is None else run.schedule.batch_size
    chosen = _spread(dataset, (WARM_UP_STEPS + TRAINING_STEPS) * batch if batch else TRIAL_IMAGES)
    started = time.monotonic()
    engine = replace(run, settings=_shortened(run.settings, len(chosen.train))).fit(chosen, runtime, mark)
    fitted = time.monotonic() - started
    if isinstance(engine.detector, MemoryBank):
        return _bank_throughput(engine, engine.detector, run.settings, dataset, _rate(marks["reading"]))
    scoring = _scoring_throughput(engine)
    if not batch:
        return ThroughputEstimate(learning=scoring, scoring=scoring, fixed_seconds=fitted)
    reading = len(dataset.train) / (_rate(marks["reading"]) or scoring) if marks["reading"] else 0.0
    learning = batch * (_rate(marks["training"][WARM_UP_STEPS - 1 :]) or scoring / batch)
    return ThroughputEstimate(learning=learning, scoring=scoring, fixed_seconds=reading)


def _bank_throughput(
    engine: BaselineEngine, detector: MemoryBank, settings: BaselinesConfig, dataset: Dataset, reading: float
) -> ThroughputEstimate:
    """Estimate the throughput of a memory bank of full size from one filled with few images."""
    bank, config = detector.bank, settings.memory_bank
    tokens = len(bank) // min(TRIAL_IMAGES, len(dataset.train)) * len(dataset.train)
    candidates = min(config.candidates, tokens)
    count = max(config.reweighting, round(config.share * candidates))
    whole = MemoryBank(detector.clip, bank.repeat(ceil(count / len(bank)), 1)[:count], config)
    scoring = _scoring_throughput(BaselineEngine(whole, engine.size[0], engine.device))
    features = torch.randn(candidates, min(bank.shape[1], config.projection), device=engine.device)
    choices = min(TRIAL_CHOICES, count)
    started = time.monotonic()
    greedy_coreset(features, choices, torch.Generator().manual_seed(0))
    choosing = (time.monotonic() - started) * count / choices
    return ThroughputEstimate(learning=reading or scoring, scoring=scoring, fixed_seconds=choosing)


def _spread(dataset: Dataset, count: int) -> Dataset:
    """Return the data set with at most ``count`` training images, evenly spaced."""
    kept = dataset.train[:: max(1, len(dataset.train) // count)][:count]
    return replace(dataset, samples=(*kept, *dataset.test))


def _shortened(settings: BaselinesConfig, images: int) -> BaselinesConfig:
    """Return the settings with schedules of a few steps, and a memory bank that keeps all tokens."""

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


def _rate(marks: list[tuple[int, float]]) -> float:
    """Return images or steps per second between the first and the last mark; 0 for fewer than two marks."""
    if len(marks) < 2:
        return 0.0
    (first, started), (last, ended) = marks[0], marks[-1]
    return (last - first) / max(ended - started, 1e-9)


def _scoring_throughput(engine: Engine) -> float:
    """Return images per second of the second of two calls."""
    shape = (SCORING_BATCH, *engine.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    engine.localize(images)
    started = time.monotonic()
    engine.localize(images)
    return SCORING_BATCH / (time.monotonic() - started)
