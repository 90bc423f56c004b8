"""Cross-fitting: a run inspects its training images as if its memory had not seen them.

The images are divided into folds, and an image is inspected without what the memory has from its fold. The memory is
built again from the images, so that it is known which image each row comes from; a run does not record it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.config import Copies, CrossFitConfig, RuntimeConfig
from clipada.engines.aligned import unaligned
from clipada.engines.tiled import inner
from clipada.engines.torch import TorchEngine
from clipada.errors import CalibrationError
from clipada.images import image_sha256
from clipada.models.memory_head import MemoryHead
from clipada.runs import Run
from clipada.runs.alignment import load_alignment
from clipada.runs.roi import load_roi
from clipada.training.answers import SearchedImages, repeated
from clipada.training.copies import References
from clipada.training.folds import FoldedMemory, Folds
from clipada.training.memory import MemoryBuilder
from clipada.training.split import split_validation
from clipada.training.tokens import TokenReader
from clipada.training.trained_images import find_dataset, trained_images
from clipada.training.views import cut_boxes
from clipada.types import Engine, ProgressReport, Sample

NO_FOLD = -1
"""Fold of rows of a product that is not scored."""

LEAST_COSINE, LEAST_SHARE = 0.999, 0.99
"""Least cosine of a row of the run and the one built again, and the least share of rows that have it."""

NAME_IMAGES = "name IMAGES of good parts that were not trained on"
"""Remedy where a run cannot be cross-fitted."""


def cross_folds(run: Run, engine: Engine, settings: CrossFitConfig, report: ProgressReport) -> Folds:
    """Divide a run's training images and the rows of its memory into folds.

    Args:
        run: The run.
        engine: The engine that inspects: PyTorch, whose memory can leave rows out.
        settings: Folder of the training images, and number of folds.
        report: Called after every step.

    Raises:
        CalibrationError: The run has no memory, it was not built from these images, or no product has two folds.
        DatasetError: There is no such folder, or the images in it are not all there, or have changed.
    """
    _require_trained_memory(run)
    engine = inner(unaligned(engine))
    if not isinstance(engine, TorchEngine) or engine.model.head is None:
        raise CalibrationError(
            "the engine of an export cannot leave rows of the memory out",
            expected="--engine torch",
            remedy=f"leave --engine out, or {NAME_IMAGES}",
        )
    reader = TokenReader(engine.model.backbone, RuntimeConfig.cache_gigabytes)
    trained = trained_images(run, find_dataset(run, settings.data, NAME_IMAGES), NAME_IMAGES)
    samples, _ = split_validation(trained, run.config)
    workers, regions, alignment = RuntimeConfig().decoders, load_roi(run), load_alignment(run)
    builder = MemoryBuilder(engine.model, run.config, reader, workers, report, regions, alignment)
    builder.copies |= {name: cast("Copies", kind) for name, kind in run.training.copies.items()}
    return divide_images(builder, engine.model.head, samples, settings.folds, run.label)


def divide_images(
    builder: MemoryBuilder, head: MemoryHead, samples: Sequence[Sample], folds: int | None, label: str
) -> Folds:
    """Divide images and the rows of a memory that was built from them; see ``cross_folds``.

    Args:
        builder: A builder of memories with the settings of this one.
        head: The memory's detector.
        samples: The images.
        folds: Number of folds of each product; ``None`` for a fold for each image.
        label: Name of the run, for errors.

    Raises:
        CalibrationError: The memory was not built from these images, or no product has two folds.
    """
    return _Divider(builder, head, label).divide(samples, folds)


def _require_trained_memory(run: Run) -> None:
    """Raise ``CalibrationError`` unless a run has a memory, and the one of its training."""
    if run.memory_sha256 is None:
        raise CalibrationError(
            f"run {run.label} cannot be cross-fitted: it has no memory whose rows could be left out",
            expected="a run of the presets quick or accurate",
            remedy=NAME_IMAGES,
        )
    if run.revision is not None:
        raise CalibrationError(
            f"run {run.label} cannot be cross-fitted: its memory has changed since the training",
            expected="the memory that the training images give",
            got=f"revision {run.revision.number}, by `clipada add` or `clipada remove`",
            remedy=f"{NAME_IMAGES} or added",
        )


class _Divider:
    """Divides the images of a run, and the rows of its memory.

    Args:
        builder: A builder of memories.
        head: The run's detector.
        label: The run's name.
    """

    def __init__(self, builder: MemoryBuilder, head: MemoryHead, label: str) -> None:
        self.builder = builder
        self.head = head
        self.label = label
        self.images: dict[Path, int] = {}
        self.copies: list[Path] = []
        self.alone: list[str] = []
        banks = [head.bank] if head.whole is None else [head.bank, head.whole]
        self.memories = tuple(FoldedMemory(bank=bank, rows=torch.full(bank.rows.shape[:3], NO_FOLD)) for bank in banks)

    def divide(self, samples: Sequence[Sample], folds: int | None) -> Folds:
        """Divide the images of all products."""
        by_product: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_product[sample.category].append(sample)
        if tuple(by_product) != self.head.products:
            raise self._other(", ".join(self.head.products), ", ".join(by_product))
        for number, (name, members) in enumerate(by_product.items()):
            self._divide_product(number, name, members, folds)
        if not self.images:
            raise CalibrationError(
                f"run {self.label} cannot be cross-fitted: an image is compared with others of its product",
                expected="two different training images of a product, or more",
                got="one",
                remedy=NAME_IMAGES,
            )
        copies, alone = tuple(self.copies), tuple(self.alone)
        return Folds(images=self.images, copies=copies, alone=alone, memories=self.memories)

    def _divide_product(self, number: int, name: str, samples: Sequence[Sample], folds: int | None) -> None:
        images = self.builder.read_images(name, [sample.path for sample in samples])
        paths = self.builder.views[name].paths
        sha256s = [image_sha256(path) for path in paths]
        own = fold_numbers(sha256s, folds, start=max(self.images.values(), default=-1) + 1)
        if len(set(own)) < 2:
            self.alone.append(name)
            return
        for place, (path, fold) in enumerate(zip(paths, own, strict=True)):
            if sha256s.index(sha256s[place]) == place:
                self.images[path] = fold
            else:
                self.copies.append(path)
        self.builder.copies.setdefault(name, "none")  # runs of earlier versions
        perturbed, crops = self.builder.perturbed[name], self.head.crops
        cut = replace(perturbed, images=cut_boxes(perturbed.images, crops, number))
        boxes, inside = crops.inside_boxes(), self.builder.inside(name)
        part = inside if boxes is None else boxes[number].numpy()
        view = self.builder.references(name, cut_boxes(images, crops, number), cut, part)
        whole = self.builder.references(name, images, perturbed, inside)
        scales = (1.0, self.builder.config.filter.scale)
        for memory, references, scale in zip(self.memories, (view, whole), scales, strict=False):
            self._fold_memory(memory, number, name, references, torch.tensor(own), scale)

    def _fold_memory(
        self, memory: FoldedMemory, number: int, name: str, references: References, folds: Tensor, scale: float
    ) -> None:
        """Find the fold of each of a product's rows, and what its images were answered."""
        student, rows = self.builder.student, memory.bank.rows[:, number].cpu()
        patches = student.read(references.images, scale, f"reading {name}").patches
        inside = references.inside(student.grid(references.images, scale))
        again = student.choose_rows(name, student.units(patches), references.sources, inside)
        count = again.rows.shape[1]
        pairs = zip(rows[:, :count], again.rows, strict=True)
        same = torch.cat([F.cosine_similarity(one.float(), other.float(), dim=1) for one, other in pairs])
        share = float((same >= LEAST_COSINE).float().mean())
        if share < LEAST_SHARE:
            raise self._other(f"the rows that these images give for {name}", f"{100 * share:.0f} % of them")
        memory.rows[:, number] = repeated(folds[again.images], rows.shape[1])
        if self.head.filter is None:
            return  # distances alone decide
        memory.searched[number] = SearchedImages(
            answers=again.search(patches[references.places], references.left_out),
            groups=folds[references.left_out],
            inside=None if inside is None else inside[references.places],
            rows=count,
        )

    def _other(self, expected: str, got: str) -> CalibrationError:
        return CalibrationError(
            f"run {self.label} cannot be cross-fitted: its memory is not the one that its training images give",
            expected=expected,
            got=got,
            remedy=f"{NAME_IMAGES}; or train again",
        )


def fold_numbers(sha256s: Sequence[str], folds: int | None, start: int = 0) -> list[int]:
    """Assign images to folds of consecutive ones; images of the same content share the first one's fold.

    Args:
        sha256s: Hash of each image's content.
        folds: Number of folds, at most one for each image; ``None`` for that many.
        start: Number of the first fold.
    """
    count = len(sha256s)
    most = count if folds is None else min(folds, count)
    numbers = [start + index * most // count for index in range(count)]
    for place, sha256 in enumerate(sha256s):
        first = sha256s.index(sha256)
        if numbers[first] != numbers[place]:
            numbers = [numbers[first] if number == numbers[place] else number for number in numbers]
    return numbers
