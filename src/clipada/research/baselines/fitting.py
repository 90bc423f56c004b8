"""How the baselines are fitted: one signature, one report of progress, one training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clipada.config import BackboneConfig, Config, ModelConfig, ScheduleConfig, TrainingConfig
from clipada.data import Dataset, read_batches
from clipada.errors import DatasetError, RunError
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine
from clipada.training import TrainingBatch, TrainingBatches
from clipada.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from clipada.training.objective import learning_rate
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
        checkpoints: Path | None = None,
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
            checkpoints: Where a training keeps its checkpoint, so that it goes on after a kill and ends the same;
                by default it keeps none. What learns without a training has none.
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
    keep: Keep | None = None,
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
        keep: Where it keeps a checkpoint, if it is to.

    Raises:
        RunError: The loss is not finite, or the checkpoint is damaged or another training's.
        DatasetError: No image can be read.
    """
    training = schedule.training(seed)
    batches = TrainingBatches(
        samples, replace(Config(), model=ModelConfig(image_size=image_size), training=training), None
    )
    optimizer = torch.optim.AdamW(
        network.to(device).train().parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    identity = [asdict(training), image_size, [(sample.category, sample.path.name) for sample in samples]]
    keeper = None if keep is None else _Keeper(keep, network, optimizer, identity)
    steps = range(0 if keeper is None else keeper.load(), len(batches))
    known: set[Path] = set()
    pinned = device.type != "cpu"
    with lent_global_draws(seed, device):
        for batch in DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pinned):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, batch.step // batches.steps_per_epoch)
            seed_global_draws(seed, batch.step)
            with torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bf16-mixed"):
                value = loss(batch.to(device))
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            if schedule.gradient_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_norm)
            optimizer.step()
            _tell(batch.failures, known)
            report(_trained(batch.step, len(batches), value.item()))
            if keeper is not None:
                keeper.note(batch.step + 1, last=batch.step + 1 == len(batches))
    network.eval()


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Where a network's training keeps a checkpoint.

    Attributes:
        folder: Takes it.
        deciding: What makes it this training beside schedule and images, as plain values: a checkpoint of another one
            is refused.
    """

    folder: Path
    deciding: Sequence[object]


class _Keeper:
    """Keeps a network's checkpoint: from time to time, and at the end.

    Args:
        keep: Where.
        network: All of its state is kept, statistics of its norms included.
        optimizer: Of its parameters.
        identity: Schedule and images.
    """

    def __init__(
        self, keep: Keep, network: nn.Module, optimizer: torch.optim.Optimizer, identity: Sequence[object]
    ) -> None:
        self.folder, self.network, self.optimizer = keep.folder, network, optimizer
        self.identity = fingerprint(*identity, *keep.deciding)
        self.saved = time.monotonic()

    def load(self) -> int:
        """Bring back what is kept; the number of steps done."""
        return load_checkpoint(self.folder, self.network.state_dict(), self.optimizer, self.identity)

    def note(self, step: int, *, last: bool) -> None:
        """Keep the state after ``step`` steps, if it is time."""
        if last or time.monotonic() - self.saved >= TrainingConfig.checkpoint_seconds:
            save_checkpoint(self.folder, self.network.state_dict(), self.optimizer, step, self.identity)
            self.saved = time.monotonic()


@contextmanager
def lent_global_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global draws, and put them back after: dropout takes no generator of its own."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_global_draws(seed)
        yield


def seed_global_draws(seed: int, *purpose: int) -> None:
    """Let PyTorch's global draws follow from ``seed``, in each step anew, so that a training can go on at any."""
    torch.manual_seed(derived_generator(seed, "global draws", *purpose).initial_seed())


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
