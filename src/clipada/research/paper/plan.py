"""Plan of a reproduction: the trainings and baselines it needs, and how long they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from clipada.config import Config
from clipada.data import Dataset
from clipada.research.paper.baselines import BaselineRun
from clipada.research.paper.experiments import Experiment
from clipada.research.paper.published import PaperDataset
from clipada.research.paper.throughput import ThroughputSource
from clipada.research.paper.trials import ThroughputEstimate


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training and evaluation, or one baseline.

    Attributes:
        run: The training or baseline.
        items: The tables and figures that need it.
        images: Images it learns from: training images times epochs, in whole batches.
        rate: Expected images per second while it learns; 0 if it is finished or learns nothing.
        hours: Expected duration; 0 if it is finished.
    """

    run: Experiment | BaselineRun
    items: tuple[str, ...]
    images: int
    rate: float
    hours: float


@dataclass(frozen=True, kw_only=True)
class ReproductionPlan:
    """All runs of a reproduction.

    Attributes:
        runs: Each run once, in order of execution.
        basis: Origin of the estimates, for a person.
    """

    runs: tuple[PlannedRun, ...]
    basis: str

    @property
    def hours(self) -> float:
        """Expected duration of all runs, without loading of weights, tables and figures."""
        return sum(run.hours for run in self.runs)


def make_plan(
    needed: Mapping[str, Sequence[Experiment | BaselineRun]], dataset: Dataset, throughput: ThroughputSource
) -> ReproductionPlan:
    """List the runs and their hours.

    Args:
        needed: The runs that each item needs.
        dataset: The images to train and evaluate on.
        throughput: Source of the throughput; used only for unfinished runs.
    """
    items: dict[Experiment | BaselineRun, list[str]] = {}
    for item, runs in needed.items():
        for run in runs:
            items.setdefault(run, []).append(item)
    planned = tuple(_planned(run, tuple(its), dataset, throughput) for run, its in items.items())
    return ReproductionPlan(runs=planned, basis=throughput.basis)


def coverage(dataset: Dataset, paper: PaperDataset) -> str:
    """Describe how much of the paper's data set a data set covers."""
    counts = f"{len(dataset.train):,} training and {len(dataset.test):,} test images"
    whole = (len(dataset.train), len(dataset.test)) == (paper.train, paper.test)
    if whole and set(dataset.categories) == set(paper.categories):
        return f"{paper.name} whole: {len(paper.categories)} categories, {counts}"
    shared = sum(name in paper.categories for name in dataset.categories)
    return (
        f"not {paper.name} as in the paper: {shared} of its {len(paper.categories)} categories and "
        f"{len(dataset.categories) - shared} others, {counts} (the paper: {paper.train:,} and {paper.test:,})"
    )


def _planned(
    run: Experiment | BaselineRun, items: tuple[str, ...], dataset: Dataset, throughput: ThroughputSource
) -> PlannedRun:
    images = _images(run, dataset)
    if run.finished:
        return PlannedRun(run=run, items=items, images=images, rate=0.0, hours=0.0)
    estimate = throughput.estimate(run)
    seconds = _learning_seconds(run, images, estimate) + len(dataset.test) / estimate.scoring
    rate = estimate.learning if images else 0.0
    return PlannedRun(run=run, items=items, images=images, rate=rate, hours=seconds / 3600)


def _learning_seconds(run: Experiment | BaselineRun, images: int, estimate: ThroughputEstimate) -> float:
    """Return the seconds of training or fitting that are left."""
    if isinstance(run, Experiment) and run.trained:
        return 0.0
    return images / estimate.learning + estimate.fixed_seconds


def _images(run: Experiment | BaselineRun, dataset: Dataset) -> int:
    """Count the images it learns from, over all epochs."""
    if isinstance(run, Experiment):
        training = run.config.training
        return _whole_batches(_training_images(dataset, run.config), training.batch_size) * training.epochs
    if run.schedule is not None:
        return _whole_batches(len(dataset.train), run.schedule.batch_size) * run.schedule.epochs
    return len(dataset.train) if run.name == "memory-bank" else 0


def _whole_batches(images: int, size: int) -> int:
    return ceil(images / size) * size


def _training_images(dataset: Dataset, config: Config) -> int:
    """Count the images of one epoch of a training."""
    share, held_out = config.training.image_share, config.training.validation_fraction
    counts = [sum(sample.category == name for sample in dataset.train) for name in dataset.categories]
    used = [max(1, round(share * count)) for count in counts if count]
    return sum(count - min(round(held_out * count), count - 1) for count in used)
