"""The training loop: devices, batches, and steps that resume bit for bit after a kill (section 4.4.1 of CLIP-ADA)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from clipada.config import Config, RuntimeConfig, TrainingConfig
from clipada.devices import find_device, is_faster_in_bfloat16
from clipada.errors import ConfigError, RunError
from clipada.models.clip_ada import ClipAda
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatch, TrainingBatches, synthesized
from clipada.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from clipada.training.objective import adamw, objective, pass_losses, set_learning_rates
from clipada.types import Failure, Progress, ProgressReport, Sample, unreported

log = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps between two lines of the logs."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Outcome of a finished fit.

    Attributes:
        losses: The last loss of each pass, coarse first; empty if no step was left to train.
        images_per_second: Throughput over all devices, since this process began training.
        failures: Training images that could not be read, each once.
    """

    losses: tuple[float, ...]
    images_per_second: float
    failures: tuple[Failure, ...]


def launch(config: TrainingConfig, runtime: RuntimeConfig, folder: Path) -> Fabric:
    """Start the processes that train together, one per device, or join those that torchrun or SLURM started.

    Loggers write into ``folder``.

    Raises:
        ConfigError: This machine has no such device, or not as many, or a batch cannot be shared among them.
    """
    each, nodes = runtime.together
    if config.batch_size % (each * nodes):
        raise ConfigError(
            "setting training.batch_size does not suit the devices",
            expected=f"a multiple of {each * nodes}, so that each device has as many images",
            got=str(config.batch_size),
        )
    device = find_device(runtime.device)
    logs = folder / "logs"
    try:
        fabric = Fabric(
            accelerator=device.type,
            devices=each if device.index is None or device.type == "cpu" else [device.index],
            num_nodes=nodes,
            precision="32-true" if config.precision == "auto" else config.precision,
            loggers=[
                CSVLogger(logs, name="csv", flush_logs_every_n_steps=1),
                TensorBoardLogger(logs, name="tensorboard"),
            ],
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"cannot train on {each * nodes} x {device}", got=str(error).strip()) from error
    fabric.launch()
    return fabric


def with_precision(config: Config, device: torch.device) -> Config:
    """Return the settings with the precision decided for a device: bfloat16 where it is faster, else float32."""
    if config.training.precision != "auto":
        return config
    return config.updated({"training.precision": "bf16-mixed" if is_faster_in_bfloat16(device) else "32-true"})


def fit(
    fabric: Fabric,
    model: ClipAda,
    samples: Sequence[Sample],
    config: Config,
    folder: Path,
    *,
    runtime: RuntimeConfig | None = None,
    report: ProgressReport = unreported,
) -> FitResult:
    """Train the adapter on normal images and synthetic anomalies; resume from the checkpoint in ``folder`` if any.

    On a CPU the same config, samples and number of threads give a bit-equal adapter, interrupted or not. Several
    devices learn from the same batches as one, so that their adapter is the same but for rounding.

    Args:
        fabric: The launched devices.
        model: An untrained model; its trained parameters are changed in place.
        samples: Normal training images.
        config: All settings.
        folder: Takes the checkpoints.
        runtime: Processes per device that decode images, and draw anomalies for a single CPU (by default this process
            alone); compilation of the model, and memory format of images.
        report: Called after every step on the first device.

    Returns:
        Losses, throughput and unreadable images.

    Raises:
        DatasetError: No training image can be read.
        RunError: The checkpoint in ``folder`` is damaged or belongs to another training, or the loss is not finite.
    """
    runtime = runtime or RuntimeConfig(workers=0)
    optimizer = adamw(model, config.training)
    identity = _identity(model, samples, config)
    layout = memory_format(fabric.device, runtime)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    compiled: Any = torch.compile(model, dynamic=False) if runtime.compile else model
    module, fabric_optimizer = fabric.setup(compiled, optimizer)
    done = load_checkpoint(folder, model.trained_parameters(), optimizer, identity)
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    by_workers = fabric.device.type == "cpu" and fabric.world_size == 1
    batches = TrainingBatches(
        samples, config, synthesizer if by_workers else None, fabric.global_rank, fabric.world_size
    )
    meter = _Meter(config.training, batches, done)
    last_saved = time.monotonic()
    for batch in _stream(fabric, batches, synthesizer, runtime.worker_count, done):
        set_learning_rates(optimizer, config.training, meter.epoch)
        with _attention(model, fabric.device, config.training):
            losses = pass_losses(module(batch.images.contiguous(memory_format=layout)), batch.masks, config.training)
        fabric_optimizer.zero_grad()
        fabric.backward(objective(losses, config.training))
        fabric_optimizer.step()
        progress = meter.update(_mean_over_devices(fabric, losses), batch.failures)
        if fabric.is_global_zero:
            _log(fabric, progress, optimizer)
            report(progress)
            if time.monotonic() - last_saved >= config.training.checkpoint_seconds:
                save_checkpoint(folder, model.trained_parameters(), optimizer, progress.done, identity)
                last_saved = time.monotonic()
    for logger in fabric.loggers:
        logger.finalize("success")
    meter.note(_gathered(fabric, tuple(meter.failures.values())))
    return meter.result()


def memory_format(device: torch.device, runtime: RuntimeConfig) -> torch.memory_format:
    """Choose the memory format of images and convolutions."""
    channels_last = device.type != "cpu" if runtime.channels_last is None else runtime.channels_last
    return torch.channels_last if channels_last else torch.contiguous_format


def _attention(model: ClipAda, device: torch.device, config: TrainingConfig) -> AbstractContextManager[None]:
    """Choose the faster attention for a training step: fused, except where its gradient is slow."""
    slow = device.type == "cpu" and config.precision == "bf16-mixed" and config.tunes_images
    return model.backbone.plain_attention() if slow else nullcontext()


def _identity(model: ClipAda, samples: Sequence[Sample], config: Config) -> str:
    """Hash what determines the adapter: settings, images and the backbone's weights, independent of their paths."""
    images = [(sample.category, sample.path.name) for sample in samples]
    return fingerprint(config.fingerprint_settings(), images, model.backbone.origin_sha256)


class _Meter:
    """Counter of steps, time and unreadable images."""

    def __init__(self, config: TrainingConfig, batches: TrainingBatches, done: int) -> None:
        self.config = config
        self.steps_per_epoch = batches.steps_per_epoch
        self.started, self.first = time.monotonic(), done
        self.failures: dict[Path, Failure] = {}
        self.progress = Progress(stage="training", done=done, total=len(batches), epochs=config.epochs)

    @property
    def epoch(self) -> int:
        """The epoch of the step to come, counted from 0."""
        return self.progress.done // self.steps_per_epoch

    def note(self, failures: Iterable[Failure]) -> None:
        """Count unreadable files, each once, and log their names."""
        for failure in failures:
            if failure.path not in self.failures:
                self.failures[failure.path] = failure
                log.warning("left out: %s", failure.error)

    def result(self) -> FitResult:
        """Return the outcome after the last step."""
        failures = tuple(self.failures.values())
        return FitResult(
            losses=self.progress.losses, images_per_second=self.progress.images_per_second, failures=failures
        )

    def update(self, values: tuple[float, ...], failures: Sequence[Failure]) -> Progress:
        """Count one step, given the loss of each pass over all devices."""
        self.note(failures)
        step = self.progress.done + 1
        if not all(map(math.isfinite, values)):
            raise RunError(
                f"the training diverged in step {step}", got=f"loss {values}", remedy="lower training.learning_rate"
            )
        seconds = time.monotonic() - self.started
        self.progress = replace(
            self.progress,
            done=step,
            epoch=self.epoch + 1,
            losses=values,
            images_per_second=(step - self.first) * self.config.batch_size / seconds,
        )
        return self.progress


def _stream(
    fabric: Fabric, batches: TrainingBatches, synthesizer: AnomalySynthesizer, workers: int, done: int
) -> Iterator[TrainingBatch]:
    """Yield this device's batches from step ``done`` on; anomalies are drawn by the workers, or else here."""
    steps = range(done, len(batches))
    on_gpu = fabric.device.type != "cpu"
    for batch in DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=on_gpu):
        yield batch if batches.synthesizer else _synthesized_share(fabric, batch, synthesizer, batches.config)


def _synthesized_share(
    fabric: Fabric, read: TrainingBatch, synthesizer: AnomalySynthesizer, config: Config
) -> TrainingBatch:
    """Gather what all devices read, draw the anomalies of the whole batch on this one, and take its share.

    Reading is distributed; drawing is not, because the draws would then depend on the number of devices.
    """
    levels = read.to(fabric.device).levels
    if fabric.world_size > 1:
        levels = fabric.all_gather(levels).transpose(0, 1).flatten(0, 1)  # type: ignore[union-attr]
    whole = synthesized(replace(read, levels=levels), synthesizer, config)
    return whole.share(fabric.global_rank, fabric.world_size)


def _mean_over_devices(fabric: Fabric, losses: Sequence[Tensor]) -> tuple[float, ...]:
    """Average the losses over devices. All get the same values, so that all stop if the training diverges on one."""
    means = fabric.all_reduce(torch.stack([loss.detach() for loss in losses]), reduce_op="mean")
    return tuple(means.tolist())  # type: ignore[union-attr]


def _gathered(fabric: Fabric, failures: tuple[Failure, ...]) -> Iterable[Failure]:
    """Collect the failures of all devices."""
    everyones: list[tuple[Failure, ...]] = [failures] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(everyones, failures)
    return chain.from_iterable(everyones)


def _log(fabric: Fabric, progress: Progress, optimizer: torch.optim.Optimizer) -> None:
    if progress.done % LOG_EVERY and progress.done != progress.total:
        return
    values = {f"loss/pass{i}": loss for i, loss in enumerate(progress.losses)}
    values |= {
        "epoch": progress.epoch,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "images_per_second": progress.images_per_second,
    }
    fabric.log_dict(values, step=progress.done)
