"""The images that an export is calibrated with and compared on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import BatchConfig, Config
from clipada.config.image_rules import ImageRules
from clipada.data import Dataset, read_batches
from clipada.devices import to_tensor
from clipada.engines.export.folding import graph_shape
from clipada.engines.passes import PassInput, full_pass_input
from clipada.engines.refinement import gain
from clipada.engines.torch import TorchEngine
from clipada.errors import DatasetError
from clipada.randomness import derived_generator
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.types import Progress, ProgressReport, Sample

Images = NDArray[np.uint8]
"""RGB images at the model's input size, ``(N, H, W, 3)``."""


def read_images(samples: Sequence[Sample], size: tuple[int, int], count: int, rules: ImageRules) -> Images:
    """Read at most ``count`` images of the samples, evenly spread, resized to ``size`` pixels, by ``rules``.

    Raises:
        DatasetError: None of the images can be read.
    """
    return read_named_images(samples, size, count, rules)[0]


def read_named_images(
    samples: Sequence[Sample], size: tuple[int, int], count: int, rules: ImageRules
) -> tuple[Images, list[Path]]:
    """Read images as ``read_images`` does; return also the path of each."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    paths = [samples[place].path for place in places]
    batches = list(read_batches(paths, size, BatchConfig.batch_size, BatchConfig.workers, rules=rules))
    found = [image for batch in batches for image in batch.images]
    if not found:
        raise DatasetError("no image to compare the export on", expected="one image that can be read")
    return np.stack(found), [path for batch in batches for path in batch.paths]


class ReportedInputs(Sequence[Mapping[str, Any]]):
    """Inputs that calibrate int8, which a quantizer reads in several rounds. Every reading is reported.

    Args:
        inputs: The inputs.
        report: Called after every input.
    """

    def __init__(self, inputs: Sequence[Mapping[str, Any]], report: ProgressReport) -> None:
        self.inputs = inputs
        self.report = report
        self.rounds = 0

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Any) -> Any:
        found = self.inputs[index]
        self.rounds += index == 0
        self.report(Progress(stage=f"quantizing, round {self.rounds}", done=index + 1, total=len(self)))
        return found


def calibration_inputs(reference: TorchEngine, dataset: Dataset, count: int) -> Sequence[Mapping[str, Any]]:
    """Build the inputs that calibrate int8: every pass over ``count`` training images.

    Every pass is included because the activations' ranges depend on ``gain``.

    Raises:
        DatasetError: There are no training images, or none of them can be read.
    """
    dataset.require_training()
    if reference.model.head is not None:
        images = read_images(dataset.train, reference.size, count, reference.rules)
        return [{"images": one[np.newaxis], "products": np.array([-1], np.int64)} for one in images]
    inputs: list[PassInput] = []
    shape, attention = graph_shape(reference.model), reference.model.config.attention
    for image in read_images(dataset.train, reference.size, count, reference.rules):
        one = image[np.newaxis]
        factors = [np.ones(one.shape[:3], np.float32)]
        factors += [gain(maps, attention) for maps in reference.localize(one).maps[:-1]]
        inputs += [full_pass_input(one, factor, shape) for factor in factors]
    return inputs


def with_anomalies(images: Images, settings: Config) -> Images:
    """Add a synthetic anomaly of procedural textures to each image, drawn from the training's seed."""
    config = replace(settings.synthesis, anomaly_probability=1.0, textures=None)
    generator = derived_generator(settings.training.seed, "shortcut")
    anomalous, _ = AnomalySynthesizer(config, texture_source(config))(to_tensor(images), generator)
    return (anomalous * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
