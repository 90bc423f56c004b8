"""Training batches: any step of any epoch can be made again from the seed, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clipada.config import Config
from clipada.errors import DatasetError, ImageError
from clipada.images import completed_rules, read_rgb, resize
from clipada.randomness import derived_generator
from clipada.synthesis import AnomalySynthesizer
from clipada.types import Failure, Image, Sample


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """Images and masks of one step, one byte per value, which is cheap to send between processes.

    Synthesis gives floats; they are rounded to the levels an image file has.

    Attributes:
        step: The step of the training, counted from 0.
        levels: ``(B, 3, S, S)`` uint8: RGB values 0..255.
        anomalous: ``(B, 1, S, S)`` bool: true where an anomaly was drawn; nowhere before synthesis.
        failures: Images and textures that could not be read; others took their places.
    """

    step: int
    levels: Tensor
    anomalous: Tensor
    failures: tuple[Failure, ...]

    @property
    def images(self) -> Tensor:
        """``(B, 3, S, S)`` float32: RGB values 0..1."""
        return self.levels.float() / 255

    @property
    def masks(self) -> Tensor:
        """``(B, 1, S, S)`` float32: 1 where anomalous."""
        return self.anomalous.float()

    def pin_memory(self) -> TrainingBatch:
        """Return a copy that can be moved to a GPU asynchronously; the loader calls this."""
        return replace(self, levels=self.levels.pin_memory(), anomalous=self.anomalous.pin_memory())

    def to(self, device: torch.device) -> TrainingBatch:
        """Return a copy on ``device``."""
        levels, anomalous = (part.to(device, non_blocking=True) for part in (self.levels, self.anomalous))
        return replace(self, levels=levels, anomalous=anomalous)

    def share(self, rank: int, world_size: int) -> TrainingBatch:
        """Return the share of one of several devices: every ``world_size``-th image from ``rank`` on."""
        return replace(self, levels=self.levels[rank::world_size], anomalous=self.anomalous[rank::world_size])


def with_image_depth(config: Config, samples: Sequence[Sample], workers: int) -> Config:
    """Return settings with the depth that the camera's values in 16-bit training images have, unless it is set."""
    rules = completed_rules(config.model.rules, [sample.path for sample in samples], workers)
    return config.updated({"model.image_depth": rules.depth})


class TrainingBatches(Dataset[TrainingBatch]):
    """All steps of a training in order, indexed by step.

    An epoch visits each image once, in an order of its own; its last batch is filled up from the start of that order.
    Every device reads its share of each batch; together they make the same batch for any number of devices.

    Args:
        samples: The normal training images.
        config: All settings.
        synthesizer: Draws the anomalies; ``None`` leaves that to the caller, who may do it on another device. Several
            devices must: what is drawn depends on the whole batch.
        rank: Number of this device, from 0 to ``world_size - 1``.
        world_size: Number of devices that share a batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: Config,
        synthesizer: AnomalySynthesizer | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.paths = [sample.path for sample in samples]
        self.config = config
        self.synthesizer = synthesizer
        self.rank = rank
        self.world_size = world_size
        self.steps_per_epoch = -(-len(samples) // config.training.batch_size)

    def __len__(self) -> int:
        return self.config.training.epochs * self.steps_per_epoch

    def __getitem__(self, step: int) -> TrainingBatch:
        failures: dict[Path, Failure] = {}
        places = range(self.rank, self.config.training.batch_size, self.world_size)
        images = [self._read(self.candidates(step, place), failures) for place in places]
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        nowhere = torch.zeros_like(stacked[:, :1], dtype=torch.bool)
        batch = TrainingBatch(step=step, levels=stacked, anomalous=nowhere, failures=tuple(failures.values()))
        return batch if self.synthesizer is None else synthesized(batch, self.synthesizer, self.config)

    def candidates(self, step: int, place: int) -> Iterator[Path]:
        """Yield the image at a place of a step's batch, then its possible substitutes, those of later batches first."""
        size, images = self.config.training.batch_size, len(self.paths)
        epoch, index = divmod(step, self.steps_per_epoch)
        generator = derived_generator(self.config.training.seed, "order", epoch)
        order = torch.randperm(images, generator=generator).tolist()
        first = index * size + place
        for position in chain([first], range(first + size, first + size + images)):
            yield self.paths[order[position % images]]

    def _read(self, candidates: Iterator[Path], failures: dict[Path, Failure]) -> Image:
        """Read the first readable image; those before it join ``failures``."""
        model = self.config.model
        for path in candidates:
            if path not in failures:
                try:
                    return resize(read_rgb(path, model.rules), model.size)
                except ImageError as error:
                    failures[path] = Failure(path=path, error=error)
        raise DatasetError(
            f"none of the {len(failures)} training images can be read",
            got=str(next(iter(failures.values())).error),
            remedy="check the files",
        )


def synthesized(batch: TrainingBatch, synthesizer: AnomalySynthesizer, config: Config) -> TrainingBatch:
    """Draw the anomalies of a whole batch on the device it is on."""
    generator = derived_generator(config.training.seed, "synthesis", batch.step, device=batch.levels.device)
    with _one_thread():
        images, masks = synthesizer(batch.images, generator)
        levels = images.mul(255).round_().to(torch.uint8)
    failures = (*batch.failures, *synthesizer.textures.failures.values())
    return replace(batch, levels=levels, anomalous=masks > 0, failures=failures)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Draw with one thread, as a worker process does: sums round differently on more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
