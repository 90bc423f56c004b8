"""What is to be done before it is done: the trainings and baselines, and how long they take at a given pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from clipada.config import Config
from clipada.data import Dataset
from clipada.research.paper.baselines import Contender
from clipada.research.paper.experiments import Experiment
from clipada.research.paper.published import PaperDataset
from clipada.research.paper.throughput import Pace, Rates


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training and evaluation, or one baseline.

    Attributes:
        experiment: What it is.
        items: The tables and figures that rest on it.
        images: Images it learns from: training images times epochs, whole batches.
        rate: Images per second that are counted on, while it learns; 0 where it is finished or learns
            nothing.
        hours: What it takes; 0 where it is finished.
    """

    experiment: Experiment | Contender
    items: tuple[str, ...]
    images: int
    rate: float
    hours: float


@dataclass(frozen=True, kw_only=True)
class ReproductionPlan:
    """All runs, in order.

    Attributes:
        runs: Each run once.
        basis: Where the rates come from, in words.
    """

    runs: tuple[PlannedRun, ...]
    basis: str

    @property
    def hours(self) -> float:
        """What all of it takes. Reading weights, tables and pictures are not counted."""
        return sum(run.hours for run in self.runs)


def make_plan(needed: Mapping[str, Sequence[Experiment | Contender]], dataset: Dataset, pace: Pace) -> ReproductionPlan:
    """List the runs and their hours.

    Args:
        needed: What each item rests on.
        dataset: What is trained and evaluated on.
        pace: How fast runs go; it is asked only for those not finished.
    """
    items: dict[Experiment | Contender, list[str]] = {}
    for item, runs in needed.items():
        for run in runs:
            items.setdefault(run, []).append(item)
    planned = tuple(_planned(run, tuple(its), dataset, pace) for run, its in items.items())
    return ReproductionPlan(runs=planned, basis=pace.basis)


def coverage(dataset: Dataset, paper: PaperDataset) -> str:
    """What a data set has of the one in the paper, in words."""
    counts = f"{len(dataset.train):,} training and {len(dataset.test):,} test images"
    whole = (len(dataset.train), len(dataset.test)) == (paper.train, paper.test)
    if whole and set(dataset.categories) == set(paper.categories):
        return f"{paper.name} whole: {len(paper.categories)} categories, {counts}"
    shared = sum(name in paper.categories for name in dataset.categories)
    return (
        f"not {paper.name} as in the paper: {shared} of its {len(paper.categories)} categories and "
        f"{len(dataset.categories) - shared} others, {counts} (the paper: {paper.train:,} and {paper.test:,})"
    )


def _planned(run: Experiment | Contender, items: tuple[str, ...], dataset: Dataset, pace: Pace) -> PlannedRun:
    images = _images(run, dataset)
    if run.finished:
        return PlannedRun(experiment=run, items=items, images=images, rate=0.0, hours=0.0)
    rates = pace.rates(run)
    seconds = _learning_seconds(run, images, rates) + len(dataset.test) / rates.scoring
    rate = rates.learning if images else 0.0
    return PlannedRun(experiment=run, items=items, images=images, rate=rate, hours=seconds / 3600)


def _learning_seconds(run: Experiment | Contender, images: int, rates: Rates) -> float:
    if isinstance(run, Experiment) and run.trained:
        return 0.0
    return images / rates.learning + rates.once


def _images(run: Experiment | Contender, dataset: Dataset) -> int:
    """How many images it learns from, all epochs together."""
    if isinstance(run, Experiment):
        training = run.config.training
        return _whole_batches(_training_images(dataset, run.config), training.batch_size) * training.epochs
    schedule = getattr(run.settings.of(run.name), "schedule", None)
    if schedule is not None:
        return _whole_batches(len(dataset.train), schedule.batch_size) * int(schedule.epochs)
    return len(dataset.train) if run.name == "memory-bank" else 0


def _whole_batches(images: int, size: int) -> int:
    return ceil(images / size) * size


def _training_images(dataset: Dataset, config: Config) -> int:
    """How many of the images a training uses."""
    share, held_out = config.training.image_share, config.training.validation_fraction
    counts = [sum(sample.category == name for sample in dataset.train) for name in dataset.categories]
    used = [max(1, round(share * count)) for count in counts if count]
    return sum(count - min(round(held_out * count), count - 1) for count in used)
