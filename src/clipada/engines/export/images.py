"""The images that an export is calibrated with and compared on, as the run sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import BatchConfig, Config
from clipada.config.image_rules import rules_of
from clipada.data import Dataset, read_batches
from clipada.devices import to_tensor
from clipada.engines.aligned import AlignedEngine, unaligned
from clipada.engines.detector import detector_inputs, inside_input
from clipada.engines.export.folding import graph_shape
from clipada.engines.passes import PassInput, full_pass_input
from clipada.engines.refinement import gain
from clipada.engines.tiled import TiledEngine, inner
from clipada.engines.torch import TorchEngine
from clipada.errors import AlignmentError, DatasetError
from clipada.images import resize
from clipada.models.memory_head import MemoryHead
from clipada.randomness import derived_generator, derived_rng
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.types import (
    Engine,
    ImageEngine,
    Localization,
    Mask,
    Progress,
    ProgressReport,
    Sample,
    localize,
    product_numbers,
)

Images = NDArray[np.uint8]
"""RGB images at the model's input size, ``(N, H, W, 3)``."""


TILES_EACH = 3
"""Most tiles of an image beside the whole of it, among the views of a run with tiles."""


class Photo(NamedTuple):
    """A file as it was read.

    Attributes:
        path: The file.
        small: Its pixels at the model's input size, ``(H, W, 3)``.
        image: Its pixels at their own size, ``(height, width, 3)``; the former for an engine that reads whole images.
    """

    path: Path
    small: Images
    image: Images


@dataclass(frozen=True, kw_only=True)
class Views:
    """Views of images, as a run reads them: whole images, and of a run with tiles some tiles of each, ``N`` in all.

    Attributes:
        images: ``(N, H, W, 3)`` uint8.
        products: The product in whose memory each is searched; ``None`` to find it.
        inside: Region of interest in each tile, ``(H, W)``; ``None`` for that of the product.
    """

    images: Images
    products: tuple[str | None, ...]
    inside: tuple[Mask | None, ...]

    @classmethod
    def of_whole(cls, images: Images) -> Self:
        """Return whole images ``(N, H, W, 3)``."""
        return cls(images=images, products=(None,) * len(images), inside=(None,) * len(images))

    def __len__(self) -> int:
        return len(self.images)

    def localized(self, engine: Engine, index: int) -> Localization:
        """Compute an engine's raw maps of a view, as a batch of one."""
        inside = self.inside[index]
        given = None if inside is None else inside[np.newaxis]
        return localize(engine, self.images[index : index + 1], [self.products[index]], given)


def read_photos(engine: Engine, samples: Sequence[Sample], count: int) -> Iterator[Photo]:
    """Read at most ``count`` images of the samples, evenly spread, for an engine, without those that it cannot align.

    Raises:
        DatasetError: None of the images can be read and aligned.
    """
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    paths, own, found = [samples[place].path for place in places], isinstance(engine, ImageEngine), 0
    sizes = (engine.size, BatchConfig.batch_size, BatchConfig.workers)
    for batch in read_batches(paths, *sizes, rules=rules_of(engine), keep_originals=own):
        originals = batch.originals if own else batch.images
        for photo in map(Photo, batch.paths, batch.images, originals):
            if _fits(engine, photo):
                found += 1
                yield photo
    if not found:
        raise DatasetError("no image to compare the export on", expected="one image that can be read and aligned")


def read_images(engine: Engine, samples: Sequence[Sample], count: int) -> Images:
    """Read images as ``read_photos`` does, aligned and at the model's input size."""
    return np.stack([_aligned(engine, photo).small for photo in read_photos(engine, samples, count)])


def _aligned(engine: Engine, photo: Photo) -> Photo:
    """Return a photo as the model sees it: in the frame of the reference, if the engine aligns it."""
    placed = engine.placed(photo.image, photo.small) if isinstance(engine, AlignedEngine) else None
    return photo if placed is None else photo._replace(small=resize(placed.image, engine.size), image=placed.image)


def _fits(engine: Engine, photo: Photo) -> bool:
    try:
        _aligned(engine, photo)
    except AlignmentError:
        return False
    return True


def read_views(engine: Engine, samples: Sequence[Sample], count: int) -> Views:
    """Read views of evenly spread images: of a run with tiles, each whole image and some of its tiles.

    Args:
        engine: The engine in the view that the run reads, which aligns images if the run does.
        samples: The images.
        count: Most views.

    Raises:
        DatasetError: None of the images can be read and aligned.
    """
    tiled = unaligned(engine)
    if not isinstance(tiled, TiledEngine):
        return Views.of_whole(read_images(engine, samples, count))
    rng, views = derived_rng(0, "views of an export"), list[tuple[Images, str | None, Mask | None]]()
    for read in read_photos(engine, samples, -(-count // (1 + TILES_EACH))):
        photo = _aligned(engine, read)
        found = tiled.localize(photo.small[np.newaxis]).image(0)
        product = None if found.product is None else tiled.products[found.product]
        views.append((photo.small, None, None))
        tiles, region = tiled.planned(photo.image, product)
        numbers = tiles.shown(region) if len(tiles) > 1 else []
        for number in rng.permutation(numbers)[:TILES_EACH].astype(int).tolist():
            inside = None if region is None else tiles.cut_region(region, number)
            views.append((tiles.cut(photo.image, number), product, inside))
    images, products, regions = zip(*views[:count], strict=True)
    return Views(images=np.stack(images), products=products, inside=regions)


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


def calibration_inputs(engine: Engine, dataset: Dataset, count: int) -> Sequence[Mapping[str, Any]]:
    """Build the inputs that calibrate int8: every pass over ``count`` views of training images.

    Every pass is included because the activations' ranges depend on ``gain``.

    Args:
        engine: The engine of PyTorch in the view that the run reads, which aligns images if the run does.
        dataset: The images.
        count: Most views.

    Raises:
        DatasetError: There are no training images, or none of them can be read.
    """
    dataset.require_training()
    reference = inner(unaligned(engine))
    if not isinstance(reference, TorchEngine):
        raise ValueError("int8 is calibrated by PyTorch")
    if (head := reference.model.head) is not None:
        return list(_detector_inputs(read_views(engine, dataset.train, count), head))
    inputs: list[PassInput] = []
    shape, attention = graph_shape(reference.model), reference.model.config.attention
    for image in read_images(engine, dataset.train, count):
        one = image[np.newaxis]
        factors = [np.ones(one.shape[:3], np.float32)]
        factors += [gain(maps, attention) for maps in reference.localize(one).maps[:-1]]
        inputs += [full_pass_input(one, factor, shape) for factor in factors]
    return inputs


def _detector_inputs(views: Views, head: MemoryHead) -> Iterator[Mapping[str, Any]]:
    """Yield views as the graph of a memory takes them."""
    numbers = product_numbers(head.products, views.products)
    for index, inside in enumerate(views.inside):
        part = slice(index, index + 1)
        given = detector_inputs(views.images[part], numbers[part])
        if head.crops.given_inside:
            given |= inside_input(views.images[part], None if inside is None else inside[np.newaxis])
        yield given


def with_anomalies(images: Images, settings: Config) -> Images:
    """Add a synthetic anomaly of procedural textures to each image, drawn from the training's seed."""
    config = replace(settings.synthesis, anomaly_probability=1.0, textures=None)
    generator = derived_generator(settings.training.seed, "shortcut")
    anomalous, _ = AnomalySynthesizer(config, texture_source(config))(to_tensor(images), generator)
    return (anomalous * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
