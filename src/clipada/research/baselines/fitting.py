"""Fitting of the baselines: one context for all of them, one pass over the images, one training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clipada.config import (
    DEFAULT_IMAGE_SIZE,
    BackboneConfig,
    Config,
    ModelConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainingConfig,
)
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.data import Dataset, read_batches
from clipada.devices import find_device, to_tensor
from clipada.errors import DatasetError, RunError
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine
from clipada.training.batches import TrainingBatch, TrainingBatches
from clipada.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from clipada.training.objective import learning_rate
from clipada.types import Failure, Progress, ProgressReport, unreported

log = logging.getLogger(__name__)

READ_AT_ONCE = 8
"""Images per batch where nothing is trained."""


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """Inputs of a fit that do not depend on the baseline.

    Attributes:
        dataset: The training split of it is fitted to, all categories together.
        backbone: The frozen CLIP, and the block whose patch tokens are used.
        image_size: Side of the square that images are resized to, in pixels.
        rules: Rules by which image files are read.
        seed: Source of every random draw.
        device: A name that ``find_device`` knows.
        workers: Threads or processes that decode images in addition to the main process.
        report: Called after every step.
        checkpoints: Folder for the checkpoint of a training, which makes it resumable with the same result; ``None``
            to keep no checkpoint. Baselines that train no network ignore it.
    """

    dataset: Dataset
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    image_size: int = DEFAULT_IMAGE_SIZE
    rules: ImageRules = DEFAULT_RULES
    seed: int = TrainingConfig.seed
    device: str = RuntimeConfig.device
    workers: int = 0
    report: ProgressReport = field(default=unreported, repr=False)
    checkpoints: Path | None = None

    @property
    def torch_device(self) -> torch.device:
        """The device of that name on this machine."""
        return find_device(self.device)


class Fit(Protocol):
    """Function that fits a baseline to the training images of all categories together: one model.

    The baselines that are a model for each product take a data set of one category.
    """

    def __call__(self, context: FitContext, /) -> BaselineEngine:
        """Return the fitted baseline."""
        ...


def require_one_product(dataset: Dataset) -> str:
    """Return the only category of a data set; raise ``DatasetError`` if there are several, or no training images."""
    dataset.require_training()
    if len(dataset.categories) > 1:
        raise DatasetError(
            "this baseline is a model for each product",
            expected="images of one category",
            got=", ".join(dataset.categories),
            remedy="fit it to dataset.of(category)",
        )
    return dataset.categories[0]


def image_batches(context: FitContext) -> Iterator[Tensor]:
    """Yield every training image once, in order, as ``(B, 3, S, S)`` with values 0..1.

    Unreadable images are logged and left out.

    Raises:
        DatasetError: No image can be read.
    """
    samples = context.dataset.train
    paths, device = [sample.path for sample in samples], context.torch_device
    size, done, usable = (context.image_size,) * 2, 0, False
    for batch in read_batches(paths, size, READ_AT_ONCE, max(1, context.workers), rules=context.rules):
        _log_failures(batch.failures, set())
        if batch.paths:
            usable = True
            yield to_tensor(batch.images, device)
        done += len(batch.paths) + len(batch.failures)
        context.report(Progress(stage="reading", done=done, total=len(samples)))
    if not usable:
        raise DatasetError(f"none of the {len(samples)} training images can be read", remedy="check the files")


def train_network(
    network: nn.Module,
    loss: Callable[[TrainingBatch], Tensor],
    context: FitContext,
    schedule: ScheduleConfig,
    identity: Sequence[object],
) -> None:
    """Train a network on normal images, in the same order and batches as CLIP-ADA's own training.

    Args:
        network: Changed in place; afterwards it is on the context's device, in evaluation mode.
        loss: Maps a batch of normal images on the device, 0..255 in ``levels``, to its loss.
        context: Images, input size, seed, device, workers, and the folder for the checkpoint.
        schedule: Epochs, batch size and learning rates.
        identity: Plain values that, with schedule and images, identify this training: the checkpoint of another
            training is refused.

    Raises:
        RunError: The loss is not finite, or the checkpoint is damaged or belongs to another training.
        DatasetError: No image can be read.
    """
    training, device = schedule.training(context.seed), context.torch_device
    model = ModelConfig(image_size=context.image_size).reading(context.rules)
    config = replace(Config(), model=model, training=training)
    batches = TrainingBatches(context.dataset.train, config, None)
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    images = [(sample.category, sample.path.name) for sample in context.dataset.train]
    digest = fingerprint(asdict(training), context.image_size, images, *identity)
    folder = context.checkpoints
    checkpoints = None if folder is None else _NetworkCheckpoints(folder, network, optimizer, digest)
    steps = range(0 if checkpoints is None else checkpoints.load(), len(batches))
    known: set[Path] = set()
    loader = DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=context.workers, pin_memory=device.type != "cpu"
    )
    with seeded_global_rng(context.seed, device):
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, batch.step // batches.steps_per_epoch)
            seed_global_rng(context.seed, batch.step)
            value = _optimize(network, optimizer, loss, batch.to(device), schedule)
            _log_failures(batch.failures, known)
            context.report(_training_progress(batch.step, len(batches), value))
            if checkpoints is not None:
                checkpoints.save_if_due(batch.step + 1, last=batch.step + 1 == len(batches))
    network.eval()


def _optimize(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[TrainingBatch], Tensor],
    batch: TrainingBatch,
    schedule: ScheduleConfig,
) -> float:
    """Update the network by one step and return the loss before it."""
    bf16 = schedule.precision == "bf16-mixed"
    with torch.autocast(batch.levels.device.type, torch.bfloat16, enabled=bf16):
        value = loss(batch)
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    if schedule.gradient_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_norm)
    optimizer.step()
    return value.item()


class _NetworkCheckpoints:
    """Checkpoint of a network's training, saved at intervals and at the end.

    Args:
        folder: The folder that contains it.
        network: All of its state is saved, including the statistics of its normalization layers.
        optimizer: The optimizer of its parameters.
        identity: Fingerprint of the training; a checkpoint with another one is refused.
    """

    def __init__(self, folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> None:
        self.folder, self.network, self.optimizer, self.identity = folder, network, optimizer, identity
        self.saved = time.monotonic()

    def load(self) -> int:
        """Restore the saved state, if any, and return the number of finished steps."""
        return load_checkpoint(self.folder, self.network.state_dict(), self.optimizer, self.identity)

    def save_if_due(self, step: int, *, last: bool) -> None:
        """Save the state after ``step`` steps if the interval has passed or this is the last step."""
        if last or time.monotonic() - self.saved >= TrainingConfig.checkpoint_seconds:
            save_checkpoint(self.folder, self.network.state_dict(), self.optimizer, step, self.identity)
            self.saved = time.monotonic()


@contextmanager
def seeded_global_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators and restore them afterwards: dropout accepts no generator of its own."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_global_rng(seed)
        yield


def seed_global_rng(seed: int, *purpose: int) -> None:
    """Seed PyTorch's global generators from ``seed``; repeated in each step so that a training can resume at any."""
    torch.manual_seed(derived_generator(seed, "global draws", *purpose).initial_seed())


def _training_progress(step: int, steps: int, loss: float) -> Progress:
    if not math.isfinite(loss):
        raise RunError(
            f"the training diverged in step {step + 1}", got=f"loss {loss}", remedy="lower schedule.learning_rate"
        )
    return Progress(stage="training", done=step + 1, total=steps, losses=(loss,))


def _log_failures(failures: Sequence[Failure], known: set[Path]) -> None:
    """Log each unreadable file once."""
    for failure in failures:
        if failure.path not in known:
            known.add(failure.path)
            log.warning("left out: %s", failure.error)
