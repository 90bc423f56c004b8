"""Measure the throughput of training, its share of the device's peak FLOP/s, and the time of each phase.

python benchmarks/training.py DATA --backbone NAME_OR_FOLDER [--refinements 1] [--set training.precision=bf16-mixed]

Without DATA, images are random pixels in memory and nothing is read. ``--random-weights`` uses the shapes of ViT-B/16
with random weights, to measure speed without a checkpoint. The steps are those of training. The device is synchronized
between phases, so that each phase gets its own time, but not while images/s are measured.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from inference import random_models
from measuring import conditions
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from clipada.config import Config, RuntimeConfig
from clipada.config.overrides import asked_config
from clipada.data import load_dataset
from clipada.devices import machine
from clipada.models.clip_ada import build_model
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatch, TrainingBatches, synthesized
from clipada.training.loop import launch, memory_format
from clipada.training.objective import adamw, objective, pass_losses

Clock = dict[str, float]
"""Seconds by phase."""

Speeds = NDArray[np.float64]
"""Rate per second of wall-clock time and of processor time, which other jobs on the machine affect less."""


def _products(count: Callable[..., int], *shapes: Any, **_: Any) -> int:
    """Count the FLOPs of an attention from the shapes of its tensors, its first arguments."""
    return count(
        *[shape for shape in shapes if isinstance(shape, torch.Size)][: 4 if count is sdpa_backward_flop_count else 3]
    )


ON_CPU: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: partial(_products, sdpa_flop_count),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: partial(_products, sdpa_backward_flop_count),
}
"""Operators that PyTorch's counter does not know: attention on a CPU."""


class Phases:
    """Timer of consecutive phases that synchronizes the device at the end of each.

    Args:
        device: Device to synchronize.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: Clock = defaultdict(float)
        self.since = time.perf_counter()

    def end(self, phase: str) -> None:
        """End a phase: add the time since the end of the last one to ``phase``."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[phase] += now - self.since
        self.since = now


class Training:
    """Training of the method, split into its phases.

    Args:
        config: All settings.
        data: The images; ``None`` for random pixels.
        runtime: Device, workers, compilation, memory.
        random_weights: True for a ViT-B/16 backbone with random weights.
    """

    def __init__(self, config: Config, data: Path | None, runtime: RuntimeConfig, random_weights: bool) -> None:
        with TemporaryDirectory() as folder:
            self.fabric = launch(config.training, runtime, Path(folder))
        self.config, self.device = config, self.fabric.device
        self.memory, self.compiled = memory_format(self.device, runtime), runtime.compile
        self.model = build_model(config, random_models()[1].backbone if random_weights else None)
        self.model.to(memory_format=self.memory)  # type: ignore[call-overload]
        compiled: Any = torch.compile(self.model, dynamic=False) if runtime.compile else self.model
        self.module, self.optimizer = self.fabric.setup(compiled, adamw(self.model, config.training))
        self.synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
        self.by_workers = data is not None and self.device.type == "cpu" and runtime.worker_count > 0
        self.stream = self._pixels() if data is None else self._images(data, runtime.worker_count)

    def step(self, end: Callable[[str], None]) -> None:
        """Run one step; ``end`` is called with the name of each finished phase."""
        batch = next(self.stream).to(self.device)
        end("waiting for the loader" if self.by_workers else "reading")
        if not self.by_workers:
            batch = synthesized(batch, self.synthesizer, self.config)
            end("synthesis, here")
        hooked = enumerate(() if self.compiled else self.model.projections)  # a hook would trigger recompilation
        hooks = [part.register_forward_hook(_passed(index, end)) for index, part in hooked]
        losses = pass_losses(
            self.module(batch.images.contiguous(memory_format=self.memory)), batch.masks, self.config.training
        )
        for hook in hooks:
            hook.remove()
        loss = objective(losses, self.config.training)
        end("forward and loss" if self.compiled else "similarity and loss")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        end("backward")
        self.optimizer.step()
        loss.item()
        end("optimizer")

    def flops(self) -> float:
        """Count the FLOPs of the matrix products in a step, forward and backward."""
        images = torch.rand(self.config.training.batch_size, 3, *self.config.model.size, device=self.device)
        masks = torch.zeros_like(images[:, :1])
        with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
            losses = pass_losses(self.model(images), masks, self.config.training)
            torch.autograd.backward(objective(losses, self.config.training))
        self.optimizer.zero_grad()
        return float(counter.get_total_flops())

    def _images(self, data: Path, workers: int) -> Iterator[TrainingBatch]:
        """Yield batches of the loader as in training, endlessly."""
        endless = self.config.updated({"training.epochs": 10**6, "training.milestones": ()})
        drawn = self.synthesizer if self.by_workers else None
        batches = TrainingBatches(load_dataset(data).train, endless, drawn)
        pinned = self.device.type != "cpu"
        return iter(DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=pinned))

    def _pixels(self) -> Iterator[TrainingBatch]:
        size = self.config.training.batch_size
        levels = torch.randint(256, (size, 3, *self.config.model.size), dtype=torch.uint8)
        batch = TrainingBatch(step=0, levels=levels, anomalous=torch.zeros_like(levels[:, :1]).bool(), failures=())
        return (replace(one, step=step) for step, one in enumerate(repeat(batch)))


def _passed(index: int, end: Callable[[str], None]) -> Callable[..., None]:
    """Return a hook that ends the phase of a pass's backbone and projection."""
    name = "forward, pass 0" if index == 0 else f"forward, refinement {index}"
    return lambda *_: end(name)


def matrix_peak(device: torch.device, bf16: bool) -> Speeds:
    """Measure the FLOP/s of the best of several square matrix products, in the precision of training."""
    side = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)

    def product() -> None:
        _ = matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    product()
    times = np.array([timed(product) for _ in range(8)])
    best: Speeds = 2.0 * side**3 / times.min(axis=0)
    return best


def rate(training: Training, steps: int) -> Speeds:
    """Measure the median images/s of five runs of ``steps`` steps; only the loss of each step is awaited."""

    def stretch() -> None:
        for _ in range(steps):
            training.step(lambda _: None)

    times = np.array([timed(stretch) for _ in range(5)])
    middle: Speeds = steps * training.config.training.batch_size / np.median(times, axis=0)
    return middle


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Time a function: wall-clock and processor seconds."""
    started = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def operators(training: Training) -> str:
    """Profile a step with PyTorch and return the operators that take the most time."""
    on_gpu = training.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiled:
        training.step(lambda _: None)
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return str(profiled.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=45))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--backbone", default=Config().backbone.name)
    parser.add_argument("--random-weights", action="store_true", help="ViT-B/16 with random weights")
    parser.add_argument("--preset", default="prompt")
    parser.add_argument("--refinements", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", metavar="NAME=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction)
    parser.add_argument("--steps", type=int, default=4, help="steps of each throughput run, and profiled steps")
    parser.add_argument("--operators", action="store_true", help="also print PyTorch's profile of a step")
    options = parser.parse_args()
    config = asked_config(
        Config.preset(options.preset), options.settings, backbone=options.backbone, refinements=options.refinements
    )
    runtime = RuntimeConfig(
        device=options.device, workers=options.workers, compile=options.compile, channels_last=options.channels_last
    )
    training = Training(config, options.data, runtime, options.random_weights)
    device, bf16 = training.device, config.training.precision == "bf16-mixed"
    backbone = "ViT-B/16 shapes, random weights" if options.random_weights else Path(options.backbone).name
    print(f"{machine(device.type)}; beside it " * (device.type != "cpu") + conditions(torch.get_num_threads(), "torch"))
    print(
        f"backbone {backbone}, block {training.model.backbone.blocks[-1]}; "
        f"{config.model.size[0]} px, R = {options.refinements}"
    )
    print(f"batch {config.training.batch_size}, {config.training.precision}; compiled: {runtime.compile}", end="; ")
    print(f"channels last: {training.memory == torch.channels_last}")
    for _ in range(3):
        training.step(lambda _: None)
    peak, flops = matrix_peak(device, bf16), training.flops()
    speed = rate(training, options.steps)
    used = flops / config.training.batch_size * speed
    print(f"{speed[0]:.1f} images/s, {flops / config.training.batch_size / 1e9:.2f} GFLOP an image")
    for by, ours, best in list(zip(("the clock", "processor time"), used, peak, strict=True))[
        : 1 + (device.type == "cpu")
    ]:
        print(
            f"{ours / 1e9:.0f} GFLOP/s of {best / 1e9:.0f} of plain matrix products by {by}: {100 * ours / best:.0f} %"
        )
    phases = Phases(device)
    for _ in range(options.steps):
        training.step(phases.end)
    total = sum(phases.seconds.values())
    for phase, seconds in phases.seconds.items():
        print(f"  {phase:24s} {1000 * seconds / options.steps:8.1f} ms a step {100 * seconds / total:5.1f} %")
    if options.operators:
        print(operators(training))


if __name__ == "__main__":
    main()
