"""What is to be done before it is done: the trainings, and how long they take at the speed that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.experiments.published import PaperDataset
from clipada.experiments.runs import MAIN, VARIANTS, Experiment
from clipada.experiments.speed import training_rate

Cost = tuple[int, str, bool]
"""What decides a training's cost per image: refinement passes, tuned encoders, whether gradients stop at the maps."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training and evaluation.

    Attributes:
        experiment: What it is.
        items: The tables and figures that rest on it.
        images: Images it sees: training images times epochs, whole batches.
        rate: Images per second that are counted on, in training.
        hours: What it takes; 0 where it is finished.
    """

    experiment: Experiment
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


def make_plan(
    experiments: Mapping[str, Sequence[Experiment]], dataset: Dataset, rates: Mapping[Cost, float], basis: str
) -> ReproductionPlan:
    """List the runs and their hours.

    Args:
        experiments: By item.
        dataset: What is trained and evaluated on.
        rates: Images per second in training, by cost; see ``measured_rates`` and ``scaled_rates``.
        basis: Where the rates come from, in words.
    """
    items: dict[Experiment, list[str]] = {}
    for item, needed in experiments.items():
        for experiment in needed:
            items.setdefault(experiment, []).append(item)
    runs = tuple(_planned(one, tuple(its), dataset, rates) for one, its in items.items())
    return ReproductionPlan(runs=runs, basis=basis)


def measured_rates(
    experiments: Sequence[Experiment], dataset: Dataset, runtime: RuntimeConfig, report: Callable[[str], None]
) -> dict[Cost, float]:
    """Train a few steps for each cost among the unfinished experiments, and tell how fast it went.

    Args:
        experiments: What is planned.
        dataset: The images to train on.
        runtime: Device and workers.
        report: Called with the variant that is timed.
    """
    rates: dict[Cost, float] = {}
    for experiment in experiments:
        cost = cost_of(experiment.config)
        if not experiment.finished and cost not in rates:
            report(experiment.variant)
            rates[cost] = training_rate(dataset, experiment.config, runtime)
    return rates


def scaled_rates(images_per_second: float, experiments: Sequence[Experiment]) -> dict[Cost, float]:
    """The rates that follow from that of the main variant by counting looks at an image.

    Args:
        images_per_second: Of a training with one refinement pass and frozen encoders.
        experiments: What is planned.
    """
    return {
        cost: images_per_second * _looks(_main_cost(experiment.config)) / _looks(cost)
        for experiment in experiments
        for cost in [cost_of(experiment.config)]
    }


def cost_of(config: Config) -> Cost:
    """What decides the cost per image of a training."""
    return config.model.refinements, config.training.tune, config.model.detach_attention


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


def _main_cost(config: Config) -> Cost:
    return cost_of(config.updated({**VARIANTS[MAIN], "training.tune": "none"}))


def _looks(cost: Cost) -> int:
    """Passes of an image through the vision tower, there and back, in one training step.

    Each look costs one forward. Back to its input, one more, where a gradient goes on to an earlier map or to weights
    below; the weights' own gradients, where the image encoder is tuned, another one. The text tower reads one prompt
    for a whole batch and is not counted.
    """
    refinements, tune, detached = cost
    image_tuned = tune in ("image", "both")
    looks = refinements + 1
    back = looks if image_tuned else (0 if detached else refinements)
    return looks + back + (looks if image_tuned else 0)


def _planned(
    experiment: Experiment, items: tuple[str, ...], dataset: Dataset, rates: Mapping[Cost, float]
) -> PlannedRun:
    config, cost = experiment.config, cost_of(experiment.config)
    images = _training_images(dataset, config)
    seen = ceil(images / config.training.batch_size) * config.training.batch_size * config.training.epochs
    rate = rates.get(cost, 0.0)
    scoring = rate * _looks(cost) / (config.model.refinements + 1)
    seconds = 0.0
    if not experiment.finished:
        seconds = (0.0 if experiment.trained else seen / rate) + len(dataset.test) / scoring
    return PlannedRun(experiment=experiment, items=items, images=seen, rate=rate, hours=seconds / 3600)


def _training_images(dataset: Dataset, config: Config) -> int:
    """How many of the images a training uses."""
    share, held_out = config.training.image_share, config.training.validation_fraction
    counts = [sum(sample.category == name for sample in dataset.train) for name in dataset.categories]
    used = [max(1, round(share * count)) for count in counts if count]
    return sum(count - min(round(held_out * count), count - 1) for count in used)
