"""Trainings that each table and figure needs, and the run folder of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipada.config import Config
from clipada.data import Dataset
from clipada.errors import ConfigError, did_you_mean
from clipada.research.paper.published import DatasetName
from clipada.runs import is_finished, read_run
from clipada.training.checkpoint import fingerprint
from clipada.types import written_size

RUNS = "runs"
MAIN = "r1-learned"
"""Variant that the paper calls its method."""

SHARES = (10, 20, 30, 40, 50)
"""Shares of the training images in figure 6, in percent."""


def _passes(refinements: int, learned: bool) -> dict[str, Any]:
    """Return a variant with all training images and frozen encoders, regardless of preset and ``--set``."""
    whole = {"training.tune": "none", "training.image_share": 1.0}
    return {"model.refinements": refinements, "prompt.learnable": learned, **whole}


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {f"r{r}-{'learned' if learned else 'fixed'}": _passes(r, learned) for r in (0, 1, 2) for learned in (False, True)}
    | {f"tune-{encoders}": _passes(1, True) | {"training.tune": encoders} for encoders in ("text", "image", "both")}
    | {f"share-{share}": _passes(1, True) | {"training.image_share": share / 100} for share in SHARES}
)
"""Settings that each variant changes, by dotted name."""

_LEARNED = ("r0-learned", MAIN, "r2-learned")
_SHARED = tuple(f"share-{share}" for share in SHARES)

NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "table1": (MAIN,),
        "table2": (MAIN,),
        "table3": (MAIN,),
        "table4": ("r0-fixed", "r0-learned", "r1-fixed", MAIN, "r2-fixed", "r2-learned"),
        "table5": ("tune-both", "tune-image", "tune-text", MAIN),
        "table6": _LEARNED,
        "figure3": (MAIN,),
        "figure4": (MAIN,),
        "figure5": _LEARNED,
        "figure6": (*_SHARED, MAIN),
        "ablation": (*_LEARNED, "r1-fixed"),
    }
)
"""Variants that each item needs."""

ITEMS: Mapping[DatasetName, tuple[str, ...]] = MappingProxyType(
    {
        "mvtec": ("table1", "table2", "figure3", "table4", "table6", "figure5", "table5", "figure6"),
        "visa": ("table3", "figure4"),
    }
)
"""Items of the paper for each data set, in the order they are made."""

ABLATION = "ablation"
"""Item made only on request: refinement and prompt over several seeds, on either data set."""

ABLATION_SEEDS = 3
"""Number of seeds of the ablation if none is given."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training and its evaluation.

    Attributes:
        variant: A name in ``VARIANTS``.
        config: All settings.
        folder: The run folder. Its name contains a hash of settings, images by name and the backbone's weights.
        tested_on: The categories of the test images, and their total number.
    """

    variant: str
    config: Config
    folder: Path
    tested_on: tuple[tuple[str, ...], int]

    @property
    def label(self) -> str:
        """Name of variant and seed, for a person."""
        return f"{self.variant}, seed {self.config.training.seed}"

    @property
    def trained(self) -> bool:
        """True if the training is finished."""
        return is_finished(self.folder)

    @property
    def finished(self) -> bool:
        """True if it is also evaluated: on these images, by PyTorch in float32, with these scoring settings."""
        metrics = read_run(self.folder).metrics if self.trained else None
        if metrics is None:
            return False
        protocol: Mapping[str, Any] = metrics["protocol"]
        figures = metrics["categories"].values()
        count = len(protocol["left_out"]) + sum(one["n_normal"] + one["n_anomalous"] for one in figures)
        wanted = asdict(self.config.scoring) | {
            "engine": "torch fp32",
            "image_size": written_size(self.config.model.size),
        }
        return (tuple(protocol["categories"]), count) == self.tested_on and wanted.items() <= protocol.items()


def chosen_items(name: DatasetName, only: Sequence[str] | None) -> tuple[str, ...]:
    """Return the items to make, in order: all of a data set, or those named.

    Raises:
        ConfigError: The paper has no such item of this data set.
    """
    known = (*ITEMS[name], ABLATION)
    unknown = [item for item in only or () if item not in known]
    if unknown:
        raise ConfigError(
            f"nothing called {', '.join(unknown)} to reproduce on {name}",
            expected="one of " + ", ".join(known),
            remedy=did_you_mean(unknown[0], known),
        )
    return tuple(item for item in known if item in only) if only else ITEMS[name]


def needed_experiments(
    item: str, base: Config, seeds: int | None, dataset: Dataset, backbone_sha256: str, out: Path
) -> tuple[Experiment, ...]:
    """Return the experiments of an item: every variant with every seed from ``base.training.seed`` on.

    Args:
        item: A key of ``NEEDS``.
        base: The settings that the variants change.
        seeds: Number of seeds; ``None`` for one, or ``ABLATION_SEEDS`` in the ablation.
        dataset: The images to train and evaluate on.
        backbone_sha256: Hash of the backbone's weights.
        out: The parent folder of ``runs/``.
    """
    numbers = seeds_of(base, ABLATION_SEEDS if seeds is None and item == ABLATION else seeds)
    listing, tested_on = listing_sha256(dataset), (dataset.categories, len(dataset.test))

    def experiment(variant: str, seed: int) -> Experiment:
        config = base.updated({**VARIANTS[variant], "training.seed": seed})
        digest = fingerprint(config.fingerprint_settings(), listing, backbone_sha256)
        folder = out / RUNS / f"{variant}-seed{seed}-{digest[:10]}"
        return Experiment(variant=variant, config=config, folder=folder, tested_on=tested_on)

    return tuple(experiment(variant, seed) for variant in NEEDS[item] for seed in numbers)


def distinct(experiments: Iterable[Experiment]) -> tuple[Experiment, ...]:
    """Return each experiment once, in order of first appearance."""
    return tuple({experiment.folder: experiment for experiment in experiments}.values())


def seeds_of(base: Config, count: int | None) -> range:
    """Return ``count`` seeds from ``base.training.seed`` on; one by default."""
    return range(base.training.seed, base.training.seed + (count or 1))


def listing_sha256(dataset: Dataset) -> str:
    """Hash the list of images of a data set, independent of its location."""
    images = [
        (sample.category, sample.split, sample.defect, sample.path.relative_to(dataset.root).as_posix())
        for sample in dataset.samples
    ]
    return hashlib.sha256(json.dumps(images).encode("utf-8", "backslashreplace")).hexdigest()
