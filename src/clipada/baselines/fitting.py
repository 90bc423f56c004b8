"""How the baselines are fitted: one signature, one report of progress, one training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clipada.baselines.engine import BaselineEngine
from clipada.config import BackboneConfig, Config, ModelConfig, ScheduleConfig
from clipada.data import Dataset, read_batches
from clipada.errors import DatasetError, RunError
from clipada.randomness import derived_generator
from clipada.training import TrainingBatch, TrainingBatches
from clipada.training.loop import learning_rate
from clipada.types import Failure, Sample

log = logging.getLogger(__name__)

READ_AT_ONCE = 8
"""Images that are looked at together where nothing is trained."""


@dataclass(frozen=True, kw_only=True)
class FitProgress:
    """Where the fitting of a baseline stands.

    Attributes:
        stage: What is being done, e.g. ``"training"``.
        done: Images or steps done, of ``total``.
        total: All of them.
        loss: The last step's loss, where something is trained.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None


Report = Callable[[FitProgress], None]


class Fit(Protocol):
    """Fits a baseline on the training images of all categories together: one model."""

    def __call__(
        self,
        dataset: Dataset,
        backbone: BackboneConfig,
        image_size: int,
        /,
        *,
        seed: int = 0,
        device: str = "auto",
        workers: int = 0,
        report: Report = ...,
    ) -> BaselineEngine:
        """Fit it.

        Args:
            dataset: Its training split is learned from.
            backbone: The frozen CLIP, and the block whose patch tokens are looked at.
            image_size: Side of the square that images are resized to, in pixels.
            seed: Every random draw follows from this number.
            device: A name that ``find_device`` knows.
            workers: Threads or processes that decode images beside this one.
            report: Called as the fitting goes on.
        """
        ...


def unreported(_: FitProgress) -> None:
    """Report to nobody."""


def image_batches(
    samples: Sequence[Sample], image_size: int, device: torch.device, workers: int, report: Report
) -> Iterator[Tensor]:
    """Every training image once, in order, ``(B, 3, S, S)`` of values 0..1; what cannot be read is named and left out.

    Raises:
        DatasetError: None can be read.
    """
    done, usable = 0, False
    for batch in read_batches([sample.path for sample in samples], image_size, READ_AT_ONCE, max(1, workers)):
        _tell(batch.failures, set())
        if batch.paths:
            usable = True
            yield torch.from_numpy(batch.images).to(device).permute(0, 3, 1, 2).float() / 255
        done += len(batch.paths) + len(batch.failures)
        report(FitProgress(stage="reading", done=done, total=len(samples)))
    if not usable:
        raise DatasetError(f"none of the {len(samples)} training images can be read", remedy="check the files")


def train_network(
    network: nn.Module,
    loss: Callable[[TrainingBatch], Tensor],
    samples: Sequence[Sample],
    image_size: int,
    schedule: ScheduleConfig,
    *,
    seed: int,
    device: torch.device,
    workers: int,
    report: Report,
) -> None:
    """Train a network on normal images, in the order and batches in which the method itself would see them.

    Args:
        network: Changed in place; it stays on ``device``, in evaluation mode.
        loss: The loss of a batch of normal images on ``device``, 0..255 in ``levels``.
        samples: The normal images.
        image_size: Side of the square that they are resized to, in pixels.
        schedule: Epochs, batches and rates.
        seed: Every random draw follows from this number.
        device: Where it is trained.
        workers: Processes that decode images; 0 does so in this one.
        report: Called after every step.

    Raises:
        RunError: The loss is not finite.
        DatasetError: No image can be read.
    """
    training = schedule.training(seed)
    batches = TrainingBatches(
        samples, replace(Config(), model=ModelConfig(image_size=image_size), training=training), None
    )
    optimizer = torch.optim.AdamW(
        network.to(device).train().parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    known: set[Path] = set()
    with lent_global_draws(seed, device):
        for batch in DataLoader(batches, batch_size=None, num_workers=workers):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, batch.step // batches.steps_per_epoch)
            value = loss(batch.to(device))
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            if schedule.gradient_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_norm)
            optimizer.step()
            _tell(batch.failures, known)
            report(_trained(batch.step, len(batches), value.item()))
    network.eval()


@contextmanager
def lent_global_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global draws, and put them back after: dropout takes no generator of its own."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_generator(seed, "global draws").initial_seed())
        yield


def _trained(step: int, steps: int, loss: float) -> FitProgress:
    if not math.isfinite(loss):
        raise RunError(
            f"the training diverged in step {step + 1}", got=f"loss {loss}", remedy="lower schedule.learning_rate"
        )
    return FitProgress(stage="training", done=step + 1, total=steps, loss=loss)


def _tell(failures: Sequence[Failure], known: set[Path]) -> None:
    """Name what could not be read, each file once."""
    for failure in failures:
        if failure.path not in known:
            known.add(failure.path)
            log.warning("left out: %s", failure.error)
