"""Building of a memory and its filter, product by product: rows, statistics, synthetic anomalies, training, scale."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config, Copies
from clipada.data.defects import NO_DEFECTS, Defects
from clipada.errors import DatasetError
from clipada.images.alignment import Align, Alignment
from clipada.images.roi import RegionsOfInterest
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import Crops, inside_tensor
from clipada.models.memory_head import GLANCE, MemoryHead, build_crops, glance_scale
from clipada.randomness import derived_rng
from clipada.runs import LearnedDefects
from clipada.scoring import final_map
from clipada.training.alignment import require_fitting
from clipada.training.copies import References
from clipada.training.evidence_scale import fit_scale
from clipada.training.filter_trainer import FilterTrainer
from clipada.training.inputs import InputRecorder
from clipada.training.known_defects import DefectLearner
from clipada.training.part_box import LEAST_IMAGES, WHOLE, box_of_region, part_box
from clipada.training.perturbed import PerturbedCopies, perturbed_copies
from clipada.training.split import learned_products
from clipada.training.study import Student, Study, drawn_images, joined_memory, measured_recall
from clipada.training.tokens import TokenReader
from clipada.training.view_regions import ViewRegions
from clipada.training.views import ProductViews, cut_boxes, image_peaks, read_views
from clipada.types import Box, Failure, ProgressReport, Sample

log = logging.getLogger(__name__)

LEAST_COVERAGE = 0.6
"""Coverage of a product's rows below which a training warns."""


@dataclass(kw_only=True)
class MemoryRecord:
    """Record of the building of a memory.

    Attributes:
        coverage: Coverage of each product's rows, as in ``Study``.
        recall: Recall of the index of each product's rows; empty where all rows are compared.
        copies: Kind of the copies that joined each product's images.
        tiles: Tiles of an image of each product that are read, and those that are skipped; empty without tiles.
        filtered: The products that the filter learned from; none without a filter.
        defects: What was learned from known defects of each product.
        failures: Good images that could not be read, or aligned.
    """

    coverage: dict[str, float] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    tiles: dict[str, tuple[int, int]] = field(default_factory=dict)
    filtered: tuple[str, ...] = ()
    defects: dict[str, LearnedDefects] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


class MemoryBuilder:
    """Builds the detector over a memory of good parts.

    Attributes:
        inputs: The training images as the input check records them.
        peaks: Peaks of the maps of training images whose own rows are left out, by product.
        learner: Learns from photos of known defects, once the memory is built.
        record: What the training records of the memory.

    Args:
        model: The model whose backbone reads tokens, and whose logits the filter may see.
        config: All settings.
        reader: Tokens of images.
        workers: Threads that decode.
        report: Called after every step.
        regions: The products' regions of interest; ``None`` if all of every image counts.
        alignment: Moves images into the frames of their products' references; ``None`` to take them as they are.
    """

    def __init__(
        self,
        model: ClipAda,
        config: Config,
        reader: TokenReader,
        workers: int,
        report: ProgressReport,
        regions: RegionsOfInterest | None = None,
        alignment: Alignment | None = None,
    ) -> None:
        self.model = model.eval()
        self.config = config
        self.student = Student(self.model, config, reader, report)
        self.reader = reader
        self.workers = workers
        self.report = report
        self.regions = regions
        self.alignment = alignment
        self.inputs = InputRecorder()
        self.peaks: dict[str, list[float]] = {}
        self.record = MemoryRecord()
        self.learner: DefectLearner | None = None
        self.copies: dict[str, Copies] = {}
        self.views: dict[str, ProductViews] = {}
        self.perturbed: dict[str, PerturbedCopies] = {}

    def build(self, samples: Sequence[Sample], defects: Defects = NO_DEFECTS) -> MemoryHead:
        """Build memory and filter from normal images, and learn from photos of known defects.

        Raises:
            DatasetError: No image of a product can be read.
            RunError: The training of the filter diverged.
        """
        by_product: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_product[sample.category].append(sample)
        images = {name: self.read_images(name, [one.path for one in some]) for name, some in by_product.items()}
        self.copies |= {name: self.student.choose_copies(name, images, self.inside(name)) for name in images}
        counts = {name: len(own.paths) for name, own in self.views.items()}
        self.record.copies = dict(self.copies)
        if self.config.inspection.tiled:
            self.record.tiles = {name: (own.tiles, own.skipped) for name, own in self.views.items()}
        self.record.filtered = learned_products(counts, self.config)

        memory, scale = self.config.memory, self.config.filter.scale
        boxed = memory.crop and max(counts.values()) >= LEAST_IMAGES and not self.config.inspection.tiled
        used = bool(self.record.filtered) or memory.whole  # else for the box alone
        small = self.studies(images, scale, self.perturbed, copied=used or scale == 1.0) if used or boxed else {}
        boxes = {name: self.box(name, small[name], own) if boxed else WHOLE for name, own in images.items()}
        filter_net = FilterTrainer(self, images, small).train() if self.record.filtered else None

        inside = inside_tensor(self.regions, list(images), self.config.model.size)
        crops = build_crops(torch.tensor(list(boxes.values())), self.config, self.model.backbone, inside)
        views = {name: cut_boxes(own, crops, number) for number, (name, own) in enumerate(images.items())}
        copies = {
            name: replace(own, images=cut_boxes(own.images, crops, number))
            for number, (name, own) in enumerate(self.perturbed.items())
        }
        parts = small if small and scale == 1.0 and not crops.any else self.studies(views, 1.0, copies, crops)
        glance = glance_scale(self.config, crops)
        centers = self.centers(images, self.descriptors(images, glance, small if memory.whole else parts))
        indexed = self.measure_rows([parts, small] if memory.whole else [parts])
        head = MemoryHead(
            joined_memory(parts, centers, memory.neighbors, indexed, crops.inside_boxes()),
            filter_net,
            crops,
            whole=joined_memory(small, centers, memory.neighbors, indexed, inside) if memory.whole else None,
            glance=glance,
            weight=memory.weight,
            share=memory.share,
        )
        self.measure_peaks(head, fit_scale(head, parts, small), parts)
        references = {name: partial(self.references, name, own, copies[name]) for name, own in views.items()}
        self.learner = DefectLearner(self, head, parts, small, references)
        head.known, self.record.defects = self.learner.learn(defects)
        return head

    def studies(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        scale: float = 1.0,
        perturbed: Mapping[str, PerturbedCopies] = MappingProxyType({}),
        crops: Crops | None = None,
        *,
        copied: bool = True,
    ) -> dict[str, Study]:
        """Study all products at a size, in whole images or in those that ``crops`` has cut, with copies or without."""
        inside = None if crops is None else crops.inside_boxes()
        masks = {name: self.inside(name) if inside is None else inside[n].numpy() for n, name in enumerate(images)}
        known = {
            name: self.references(name, own, perturbed.get(name), masks[name], copied=copied)
            for name, own in images.items()
        }
        return {name: self.student.study(name, own, scale) for name, own in known.items()}

    def inside(self, name: str) -> NDArray[np.bool_] | None:
        """Return the region of interest of a product at the model's input size, ``(H, W)``; ``None`` for all of it."""
        return None if self.regions is None else self.regions.inside(name, self.config.model.size)

    def references(
        self,
        name: str,
        images: NDArray[np.uint8],
        perturbed: PerturbedCopies | None = None,
        inside: NDArray[np.bool_] | None = None,
        *,
        copied: bool = True,
    ) -> References:
        """Return a view of a product's images with their copies, and the images searched for its statistics.

        ``copied`` is false for the images alone; ``inside`` is the product's region of interest in this view,
        ``(H, W)``; tiles have their own.
        """
        seed = self.config.training.seed
        some, views = drawn_images(len(images), seed, name), self.views[name]
        regions = views.regions if self.config.inspection.tiled else ViewRegions.of_all(inside, len(images))
        kind = self.copies[name] if copied else "none"
        own = References.of(images, some, kind, seed, views.sources, regions)
        if perturbed is None or not copied:
            return own
        regions = perturbed.regions or ViewRegions.of_all(inside, len(perturbed.images))
        return own.joined(perturbed.images, perturbed.sources, regions)

    def read_images(self, name: str, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """Read the views of a product's images, ``(m, H, W, 3)``, and make their perturbed copies."""
        align = self.align(name)
        self.views[name] = views = read_views(name, paths, self.config, self.workers, self.regions, align=align)
        require_fitting(name, views.failures, len(views.paths))
        if not views.paths:
            got = str(views.failures[0].error) if views.failures else None
            raise DatasetError(f"no good image of {name} can be read", got=got, remedy="check the files")
        self.record.failures += views.failures
        self.perturbed[name] = perturbed_copies(name, views.paths, self.config, self.workers, self.regions, align)
        return views.images

    def align(self, name: str) -> Align | None:
        """Return what moves images of a product into the frame of its reference; ``None`` for one without any."""
        return None if self.alignment is None else self.alignment.aligner(name)

    def box(self, name: str, study: Study, images: NDArray[np.uint8]) -> Box:
        """Find the box in which a product's images show the part."""
        if (inside := self.inside(name)) is not None:
            return box_of_region(inside, study.grid)
        some = drawn_images(len(images), self.config.training.seed, name)
        return part_box(study.normal.distances[..., 0], images[some.numpy()], study.grid)

    def descriptors(
        self, images: Mapping[str, NDArray[np.uint8]], glance: float, studies: Mapping[str, Study]
    ) -> dict[str, Tensor]:
        """Return the descriptors of each product's images, ``(n, D)``, at the size at which a product is found."""
        if glance != GLANCE:
            return {name: study.descriptors for name, study in studies.items()}
        read = partial(self.student.read, scale=GLANCE)
        return {name: read(self.views[name].whole, stage=f"reading {name}").descriptors for name in images}

    def centers(self, images: Mapping[str, NDArray[np.uint8]], descriptors: Mapping[str, Tensor]) -> Tensor:
        """Return the mean descriptor of each product, ``(P, D)``, and record the images for the input check."""
        for name in images:
            self.inputs.add_described(name, self.views[name].whole, descriptors[name].numpy())
        return torch.stack([F.normalize(descriptors[name].mean(dim=0), dim=-1) for name in images])

    def measure_rows(self, views: Sequence[Mapping[str, Study]]) -> bool:
        """Keep coverage and recall of each product's rows, and warn of low coverage; return True to use an index."""
        self.record.recall = measured_recall(views, self.config.memory)
        self.record.coverage = {name: round(min(view[name].coverage for view in views), 3) for name in views[0]}
        if low := [f"{name} ({value:.2f})" for name, value in self.record.coverage.items() if value < LEAST_COVERAGE]:
            budget = "memory.megabytes and memory.rows" if self.config.memory.megabytes else "memory.rows"
            said = "the memory covers less of these products than all of their patches do: %s; more %s may help"
            log.warning(said, ", ".join(low), budget)
        return self.config.memory.indexed(self.record.recall)

    def measure_peaks(self, head: MemoryHead, evidence: Mapping[str, Tensor], parts: Mapping[str, Study]) -> None:
        """Keep the peaks of the maps of good images, given their evidence, ``(n, 4 h, 4 w)`` of each product."""
        for name, cells in evidence.items():
            self.peaks[name] = self.image_peaks(name, head, cells, parts[name])

    def image_peaks(self, name: str, head: MemoryHead, evidence: Tensor, part: Study) -> list[float]:
        """Return the peaks of the maps of a product's images, given the evidence ``(n, 4 h, 4 w)`` of its views."""
        raw, inside = head.crops.enlarged(head.to_unit(evidence)).numpy(), [self.inside(name)] * len(evidence)
        if self.config.inspection.tiled and part.regions is not None:
            inside = [part.regions[place] for place in range(len(evidence))]
        maps = (final_map(one[None], self.config.scoring, inside=own) for one, own in zip(raw, inside, strict=True))
        peaks = [float(one.max()) for one in maps]
        return image_peaks(peaks, self.views[name].tiles, derived_rng(self.config.training.seed, "peaks", name))
