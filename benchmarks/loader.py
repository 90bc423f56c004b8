"""Compare images/s of the loader (with synthesis) alone to images/s of the training step alone.

python benchmarks/loader.py DATA --backbone NAME_OR_FOLDER
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from clipada.config import Config
from clipada.data import load_dataset
from clipada.devices import machine
from clipada.models.clip_ada import build_model
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatch, TrainingBatches
from clipada.training.objective import objective, pass_losses


def loader(batches: TrainingBatches, workers: int) -> Iterator[TrainingBatch]:
    """Build the loader as in training: worker processes decode batches and draw anomalies."""
    return iter(DataLoader(batches, batch_size=None, num_workers=workers))


def training_step(config: Config, batch: TrainingBatch) -> Callable[[], None]:
    """Build a complete optimizer step on one batch, as in training."""
    model = build_model(config)
    optimizer = torch.optim.AdamW(model.trained_parameters().values(), lr=config.training.learning_rate)

    def step() -> None:
        optimizer.zero_grad()
        losses = pass_losses(model(batch.images), batch.masks, config.training)
        torch.autograd.backward(objective(losses, config.training))
        optimizer.step()

    return step


def rate(action: Callable[[], object], images: int, repeats: int) -> float:
    """Measure the median images/s of an action over repeats, after a warm-up."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return images / statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default=Config().backbone.name)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    config = Config.preset("prompt").updated({"backbone.name": options.backbone})
    samples = load_dataset(options.data).train
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    batches = TrainingBatches(samples, config, synthesizer)
    size, workers = config.training.batch_size, os.cpu_count() or 1

    stream = loader(batches, workers)
    for _ in range(2 * workers + 1):  # batches that the workers made while they started
        next(stream)
    alone = rate(lambda: [next(stream) for _ in range(workers)], size * workers, options.repeats)
    stream = iter(())
    step = rate(training_step(config, batches[0]), size, options.repeats)
    print(f"machine: {machine('cpu')}; backbone {Path(options.backbone).name}; {config.model.size[0]} px, R = 1")
    print(f"loader alone, {workers} workers: {alone:.1f} images/s")
    print(f"training step alone, {torch.get_num_threads()} threads: {step:.1f} images/s")
    print(f"ratio: {alone / step:.1f}")


if __name__ == "__main__":
    main()
