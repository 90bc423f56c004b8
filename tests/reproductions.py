"""Reproductions of the paper that take seconds."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipada.config import BaselinesConfig, Config, RuntimeConfig
from tiny import tiny_config, write_products

CPU = RuntimeConfig(device="cpu", workers=0)


NO_BASELINES = BaselinesConfig(include=())


def quick(clip_folder: Path) -> Config:
    """One epoch; the final map is the mean of the passes."""
    return tiny_config(clip_folder).updated(
        {
            "training.epochs": 1,
            "training.milestones": (),
            "training.checkpoint_seconds": 0.0,
            "scoring.fusion": "mean",
        }
    )


def figures(folder: Path, item: str) -> dict[tuple[str, ...], float]:
    """All numbers of a table except speeds, by row, origin, metric and category."""
    with (folder / f"{item}.csv").open(encoding="utf-8") as file:
        return {
            (line["row"], line["origin"], line["metric"], line["category"]): float(line["value"])
            for line in csv.DictReader(file)
            if "images_per_second" not in line["metric"] and line["metric"] != "best_batch"
        }


@contextmanager
def short_timing() -> Iterator[None]:
    """Time as few steps as possible where a reproduction measures speeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipada.research.paper.speed.SECONDS", 0.0)
        patch.setattr("clipada.research.paper.speed.LARGEST_BATCH", 2)
        yield


def write_parts(folder: Path) -> Path:
    """Two products, one of them with the name of one of the paper's."""
    root = write_products(folder / "products")
    (root / "disc").rename(root / "bottle")
    return root
