"""Trainings of the tiny CLIP, and their parameters."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from clipada.config import Config, RuntimeConfig
from clipada.models.clip_ada import ClipAda, build_model
from clipada.training.loop import fit, launch
from clipada.types import Progress, Sample

CPU = RuntimeConfig(device="cpu", workers=0)


def run(
    model: ClipAda,
    samples: tuple[Sample, ...],
    config: Config,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
    runtime: RuntimeConfig = CPU,
) -> None:
    fabric = launch(config.training, runtime, folder)
    fit(fabric, model, samples, config, folder, runtime=runtime, report=report)


def values(model: ClipAda) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.trained_parameters().items()}


def bit_equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def trained(config: Config, samples: tuple[Sample, ...], folder: Path, runtime: RuntimeConfig = CPU) -> ClipAda:
    model = build_model(config)
    run(model, samples, config, folder, runtime=runtime)
    return model
