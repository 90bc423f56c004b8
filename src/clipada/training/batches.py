"""Training batches: any step of any epoch can be made again from the seed, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clipada.config import Config
from clipada.errors import DatasetError, ImageError
from clipada.images import read_rgb, resize
from clipada.randomness import derived_generator
from clipada.synthesis import AnomalySynthesiser
from clipada.types import Failure, Image, Sample


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """What one step learns from.

    Attributes:
        step: Which step of the training, counted from 0.
        images: ``(B, 3, S, S)``: RGB values, uint8 before synthesis and float32 0..1 after.
        masks: ``(B, 1, S, S)`` float32, 1 where anomalous; all 0 before synthesis.
        failures: Images and textures that could not be read; others took their places.
    """

    step: int
    images: Tensor
    masks: Tensor
    failures: tuple[Failure, ...]

    def pin_memory(self) -> TrainingBatch:
        """A copy whose images can be moved to a GPU while it works; the loader calls it."""
        return replace(self, images=self.images.pin_memory())

    def to(self, device: torch.device) -> TrainingBatch:
        """A copy with its images on ``device``."""
        return replace(self, images=self.images.to(device, non_blocking=True))


class TrainingBatches(Dataset[TrainingBatch]):
    """All steps of a training in order, indexed by step.

    An epoch goes through the images once, in an order of its own; its last batch is filled up from the order's start.
    Every device takes its share of each batch.

    Args:
        samples: The normal training images.
        config: All settings.
        synthesiser: Draws the anomalies; ``None`` leaves that to the caller, who may do it on another device.
        rank: Which of ``world_size`` devices this is.
        world_size: How many devices share a batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: Config,
        synthesiser: AnomalySynthesiser | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.paths = [sample.path for sample in samples]
        self.config = config
        self.synthesiser = synthesiser
        self.rank = rank
        self.world_size = world_size
        self.steps_per_epoch = -(-len(samples) // config.training.batch_size)

    def __len__(self) -> int:
        return self.config.training.epochs * self.steps_per_epoch

    def __getitem__(self, step: int) -> TrainingBatch:
        wanted = len(range(self.rank, self.config.training.batch_size, self.world_size))
        images: list[Image] = []
        failures: dict[Path, Failure] = {}
        for path in self._paths_of(step):
            if len(images) == wanted:
                break
            try:
                images.append(resize(read_rgb(path), (self.config.model.image_size,) * 2))
            except ImageError as error:
                failures[path] = Failure(path=path, error=error)
                self._require_readable(failures)
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        nowhere = torch.zeros_like(stacked[:, :1], dtype=torch.float32)
        batch = TrainingBatch(step=step, images=stacked, masks=nowhere, failures=tuple(failures.values()))
        if self.synthesiser is None:
            return batch
        with _one_thread():
            return synthesised(batch, self.synthesiser, self.config, self.rank)

    def _paths_of(self, step: int) -> Iterator[Path]:
        """This device's images of a step, then without end what may stand in for unreadable ones."""
        epoch, index = divmod(step, self.steps_per_epoch)
        generator = derived_generator(self.config.training.seed, "order", epoch)
        order = torch.randperm(len(self.paths), generator=generator).tolist()
        start, stop = (k * self.config.training.batch_size for k in (index, index + 1))
        for position in chain(range(start + self.rank, stop, self.world_size), count(stop)):
            yield self.paths[order[position % len(order)]]

    def _require_readable(self, failures: Mapping[Path, Failure]) -> None:
        if len(failures) == len(set(self.paths)):
            raise DatasetError(
                f"none of the {len(failures)} training images can be read",
                got=str(next(iter(failures.values())).error),
                remedy="check the files",
            )


def synthesised(batch: TrainingBatch, synthesiser: AnomalySynthesiser, config: Config, rank: int = 0) -> TrainingBatch:
    """Draw the anomalies of a batch on the device its images are on."""
    generator = derived_generator(config.training.seed, "synthesis", batch.step, rank, device=batch.images.device)
    images, masks = synthesiser(batch.images.float() / 255, generator)
    failures = (*batch.failures, *synthesiser.textures.failures.values())
    return replace(batch, images=images, masks=masks, failures=failures)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums round differently on more threads: draw as a worker process does, with one, wherever this runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
