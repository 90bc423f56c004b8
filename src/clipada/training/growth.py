"""Good parts that join the memory of a finished run: read, chosen and measured as in its training.

The backbone, the filter and the scale of the evidence stay. A new product gets rows, statistics and a box of its own. A
condition, which is a product in another light or before another camera, gets rows beside those of the product: its
images are searched in both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.calibration.image_statistics import image_statistics
from clipada.config import Copies, RuntimeConfig
from clipada.evaluation.normal_level import normal_level
from clipada.files import sha256_of
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import Crops, inside_tensor
from clipada.models.growth import Rows, Statistics, joined, last_of_parts, pooled
from clipada.models.memory import PatchMemory
from clipada.models.memory_head import SCALE_NAMES, WHOLE_PREFIX, MemoryHead, build_crops
from clipada.runs import Run
from clipada.runs.additions import Addition, Described
from clipada.runs.alignment import load_alignment
from clipada.runs.roi import load_roi
from clipada.training.alignment import require_fitting
from clipada.training.conditions import ConditionStudent
from clipada.training.memory import LEAST_COVERAGE, MemoryBuilder
from clipada.training.part_box import LEAST_IMAGES, WHOLE
from clipada.training.perturbed import PerturbedCopies, perturbed_copies
from clipada.training.study import Study
from clipada.training.tokens import TokenReader
from clipada.training.views import ProductViews, cut_boxes, read_views
from clipada.types import Box, ProgressReport

UNUSUAL_SHARE = 0.1
"""Share of the new good images with a score that 1 % of the training's exceed, above which an addition warns."""

INSIDE = 0.9
"""Share of the box in which new images show the part that must be inside of the product's box."""

BOX_IMAGES = 90
"""Most images from which the box is found."""


@dataclass(frozen=True, kw_only=True)
class GoodParts:
    """Good parts of one product, in one condition.

    Attributes:
        product: The product.
        condition: Name of the light or camera; empty for a new product.
        views: Their views at the model's input size.
        sha256s: Hashes of the files.
    """

    product: str
    condition: str
    views: ProductViews
    sha256s: tuple[str, ...]


def read_good_parts(run: Run, product: str, paths: Sequence[Path], workers: int) -> tuple[ProductViews, list[str]]:
    """Read images of a product at a run's input size, at most as many as a training: evenly spaced ones of more.

    Returns:
        Their views, and the hashes of their files.
    """
    alignment = load_alignment(run)
    align = None if alignment is None else alignment.aligner(product)
    views = read_views(product, paths, run.config, workers, load_roi(run), align=align)
    require_fitting(product, views.failures, len(views.paths))
    return views, [sha256_of(path) for path in views.paths]


@dataclass(frozen=True, kw_only=True)
class _View:
    """A view of the new images: their study, and what joins or makes the product's rows.

    Attributes:
        study: The study.
        added: The new rows, and the statistics of these images.
        bank: A memory of this product alone, as it will be.
    """

    study: Study
    added: tuple[Rows, Statistics]
    bank: PatchMemory


class _Seen(NamedTuple):
    """Images of a product and their perturbed copies as a view shows them: its box, or the whole image."""

    name: str
    images: NDArray[np.uint8]
    copies: PerturbedCopies
    crops: Crops
    whole: bool = False

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """The product's region of interest in this view, ``(H, W)``."""
        found = self.crops.inside if self.whole else self.crops.inside_boxes()
        return None if found is None else found[0].numpy()


class Growth:
    """Studies good parts that join a run's memory.

    Attributes:
        warnings: What a user should know of the parts.

    Args:
        run: The run.
        model: Its model.
        runtime: Workers, and the size of the cache of tokens.
        report: Called after every step.
    """

    def __init__(self, run: Run, model: ClipAda, runtime: RuntimeConfig, report: ProgressReport) -> None:
        if model.head is None:
            raise ValueError("the model has no memory")
        self.run = run
        self.config = run.config
        self.head = model.head.cpu()
        reader = TokenReader(model.backbone, runtime.cache_gigabytes)
        regions, alignment = load_roi(run), load_alignment(run)
        self.builder = MemoryBuilder(model, run.config, reader, runtime.decoders, report, regions, alignment)
        self.warnings: list[str] = []

    def study(self, parts: GoodParts) -> Addition:
        """Choose rows for good parts, and measure how well they stand for them."""
        name, images = parts.product, parts.views.images
        self.builder.views[name] = parts.views
        known = bool(parts.condition)
        trained = self.run.training.copies.get(name, "none")
        chosen = (
            trained if known else self.builder.student.choose_copies(name, {name: images}, self.builder.inside(name))
        )
        self.builder.copies[name] = cast("Copies", chosen)
        box = self._box_of(name) if known else self._find_box(name, images)
        if known:
            self._require_inside(parts, box)
        inside = inside_tensor(self.builder.regions, [name], self.config.model.size)
        crops = build_crops(torch.tensor([box]), self.config, self.builder.model.backbone, inside)
        part, whole = self._views(parts, crops)
        level = self._measure(name, part, whole, crops)
        read_whole = (whole or part).study
        descriptors = self.builder.descriptors({name: images}, self.head.glance, {name: read_whole})[name]
        views = {"": part.added} | ({} if whole is None else {WHOLE_PREFIX: whole.added})
        coverage = min(view.study.coverage for view in (part, whole) if view is not None)
        if coverage < LEAST_COVERAGE:
            self.warnings.append(f"the rows of {name} cover less than all of its patches do ({coverage:.2f})")
        return Addition(
            described=Described(
                product=name,
                condition=parts.condition,
                sha256s=tuple(sorted(parts.sha256s)),
                level=level,
                coverage=round(coverage, 3),
                copies=self.builder.copies[name],
                folders=tuple(sorted({str(path.absolute().parent) for path in parts.views.paths})),
            ),
            views=views,
            box=torch.tensor(box),
            statistics=np.stack([image_statistics(image) for image in parts.views.whole]),
            descriptors=descriptors.numpy(),
        )

    def _box_of(self, product: str) -> Box:
        """Return the box in which the run reads a product."""
        left, top, right, bottom = self.head.crops.boxes[self.head.products.index(product)].tolist()
        return left, top, right, bottom

    def _find_box(self, name: str, images: NDArray[np.uint8]) -> Box:
        """Find the box of a new product; the whole image where the run finds products at the size that it reads.

        A first box would change the size at which products are found, and with it the answers for all of them.
        """
        possible = (self.head.crops.any or self.head.whole is not None) and not self.config.inspection.tiled
        if not (self.config.memory.crop and possible) or len(images) < LEAST_IMAGES:
            return WHOLE
        chosen = images[:: -(-len(images) // BOX_IMAGES)]
        study = self.builder.studies({name: chosen}, self.config.filter.scale)[name]
        return self.builder.box(name, study, chosen)

    def _require_inside(self, parts: GoodParts, box: Box) -> None:
        """Warn if new images show the part outside of the box in which the run reads its product."""
        found = WHOLE if box == WHOLE else self._find_box(parts.product, parts.views.images)
        if found != WHOLE and _share_inside(found, box) < INSIDE:
            self.warnings.append(
                f"{parts.condition}: the images show {parts.product} outside of the box that the run reads; "
                "add them as a product of its own, or train again"
            )

    def _views(self, parts: GoodParts, crops: Crops) -> tuple[_View, _View | None]:
        """Study the box of the images, and where the run has a memory of them, whole images."""
        name, images, known = parts.product, parts.views.images, bool(parts.condition)
        workers, align = self.builder.workers, self.builder.align(name)
        copies = perturbed_copies(name, parts.views.paths, self.config, workers, self.builder.regions, align)
        cut = replace(copies, images=cut_boxes(copies.images, crops, 0))
        part = self._view(_Seen(name, cut_boxes(images, crops, 0), cut, crops), self.head.bank, known)
        if self.head.whole is None:
            return part, None
        seen, scale = _Seen(name, images, copies, crops, whole=True), self.config.filter.scale
        return part, self._view(seen, self.head.whole, known, scale)

    def _view(self, seen: _Seen, bank: PatchMemory, known: bool, scale: float = 1.0) -> _View:
        """Study a view of the images, beside the rows of the memory's own product if it knows it."""
        name, images, shown = seen.name, seen.images, seen.crops.shown(whole=seen.whole)
        references = self.builder.references(name, images, seen.copies, seen.inside)
        neighbors, count_images = self.config.memory.neighbors, len(self.builder.views[name].paths)
        if not known:
            study = self.builder.student.study(name, references, scale)
            added = Rows(study.rows.rows, study.distances.usual)
            statistics = Statistics(count_images, study.distances.mean, study.distances.std)
            bank = _single(name, added, statistics, neighbors, shown)
            return _View(study=study, added=(added, statistics), bank=bank)
        place = bank.products.index(name)
        before = Rows(bank.rows[:, place], bank.usual[:, place])
        study = ConditionStudent(self.builder.student, before).study(name, references, scale)
        count = study.rows.rows.shape[1] - before.length
        added = Rows(*(last_of_parts(one, count, neighbors) for one in (study.rows.rows, study.distances.usual)))
        statistics = Statistics(count_images, study.distances.mean, study.distances.std)
        images_before = self.run.training.categories[name]
        own = Statistics(images_before, bank.distance_mean[:, place], bank.distance_std[:, place])
        together = _single(name, joined([before, added], neighbors), pooled([own, statistics]), neighbors, shown)
        return _View(study=study, added=(added, statistics), bank=together)

    @torch.inference_mode()
    def _measure(self, name: str, part: _View, whole: _View | None, crops: Crops) -> float:
        """Return the level of the new images' maps, and warn if their scores are high on the run's scale."""
        head = self.head
        scale = {one: float(getattr(head, one)) for one in SCALE_NAMES}
        alone = MemoryHead(
            part.bank,
            head.filter,
            crops,
            whole=None if whole is None else whole.bank,
            glance=head.glance,
            weight=head.weight,
            share=head.share,
            **scale,
        )
        second = () if whole is None else (whole.study.retrieval(whole.bank, 0), whole.study.logits)
        study = part.study
        evidence = alone.evidence(study.retrieval(part.bank, 0), study.logits, *second, inside=study.inside)
        high = float((alone.pooled(evidence) > scale["calm"] + scale["knee"] / 3).float().mean())
        if high > UNUSUAL_SHARE:
            self.warnings.append(
                f"{high:.0%} of the good images of {name} score above nearly all good images of the training: "
                "give it a threshold of its own with `clipada calibrate --per product`"
            )
        return normal_level(self.builder.image_peaks(name, alone, evidence, study))


def _single(name: str, rows: Rows, statistics: Statistics, neighbors: int, inside: Tensor | None) -> PatchMemory:
    """Return a memory of one product, which finds no product by its center."""
    return PatchMemory(
        [name],
        rows=rows.rows.unsqueeze(1),
        usual=rows.usual.half().unsqueeze(1),
        distance_mean=statistics.mean.unsqueeze(1),
        distance_std=statistics.std.unsqueeze(1),
        centers=torch.zeros(1, 1),
        neighbors=neighbors,
        inside=inside,
    )


def _share_inside(box: Box, outer: Box) -> float:
    """Return the share of the area of a box that is inside of another one, 0..1."""
    width = max(0.0, min(box[2], outer[2]) - max(box[0], outer[0]))
    height = max(0.0, min(box[3], outer[3]) - max(box[1], outer[1]))
    return width * height / max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))
