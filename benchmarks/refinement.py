"""Measure the gain of refinement on a test set: pixel AP of the last pass with its attention replaced.

python benchmarks/refinement.py RUN DATA

- ``coarse``: map of the coarse pass.
- ``refined``: last pass with attention from the previous pass, as trained.
- ``none``: last pass with attention 0 everywhere: no hint.
- ``full``: last pass with attention 1 everywhere.
- ``oracle``: last pass with the ground truth as attention: the result of a perfect hint.
- ``echo``: Spearman's rank correlation of the refined map with the coarse one; 1 means that the last pass repeats its
  hint.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor

from clipada.config import ScoringConfig
from clipada.data import Dataset, load_dataset, load_mask, read_batches
from clipada.evaluation.metrics import average_precision
from clipada.models.clip_ada import ClipAda, upsample
from clipada.runs import load_model, read_run
from clipada.scoring import anomaly_map

Hint = Callable[[Tensor, Tensor], Tensor]

HINTS: dict[str, Hint] = {
    "refined": lambda coarse, _: coarse,
    "none": lambda coarse, _: torch.zeros_like(coarse),
    "full": lambda coarse, _: torch.ones_like(coarse),
    "oracle": lambda coarse, truth: F.adaptive_avg_pool2d(truth, (coarse.shape[-2], coarse.shape[-1])),
}
"""Function of the previous pass's map and the true mask at the input size that returns the attention ``(B, h, w)``."""


@torch.inference_mode()
def maps(model: ClipAda, images: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Compute the coarse map and the last pass's map under each hint, ``(B, H, W)``."""
    text = model.text_vector()
    passes = [logits.sigmoid() for logits in model(images, text)]
    found = {"coarse": passes[0]}
    for name, hint in HINTS.items():
        tokens = model.backbone(model.attend(images, hint(passes[-2], truth)))
        logits = model.similarity(model.projections[-1](tokens), text)
        found[name] = logits.sigmoid().unflatten(1, passes[0].shape[1:])
    return {name: upsample(value, images.shape[-2:]) for name, value in found.items()}


def score(model: ClipAda, dataset: Dataset, scoring: ScoringConfig) -> dict[str, float]:
    """Compute the pixel AP of every kind of map over one category's test images, and the echo."""
    pixels: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ("coarse", *HINTS)}
    truths: list[NDArray[np.bool_]] = []
    paths = [sample.path for sample in dataset.test]
    for batch in read_batches(paths, model.config.size, 8, workers=2):
        masks = [
            load_mask(dataset.test[position], model.config.size, size)
            for position, size in zip(batch.positions, batch.sizes, strict=True)
        ]
        truth = np.stack([mask for mask in masks if mask is not None])
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
        for name, value in maps(model, images, torch.from_numpy(truth).float()).items():
            pixels[name] += [anomaly_map(one, scoring) for one in value.numpy()]
        truths += list(truth)
    flat = {name: np.stack(value).ravel() for name, value in pixels.items()}
    echo = float(spearmanr(flat["coarse"][::97], flat["refined"][::97]).statistic)
    return {name: average_precision(value, np.stack(truths).ravel()) for name, value in flat.items()} | {"echo": echo}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    run = read_run(options.run)
    model = load_model(run).eval()
    dataset = load_dataset(options.data)
    table = Table(
        title=f"pixel AP in percent; {run.config.model.attention}, {run.backbone_label}", title_justify="left"
    )
    for column in ("category", "coarse", *HINTS, "echo"):
        table.add_column(column, justify="left" if column == "category" else "right", no_wrap=True)
    for category in dataset.categories:
        values = score(model, dataset.of(category), run.config.scoring)
        table.add_row(category, *(f"{100 * value:.1f}" for value in values.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
