"""Learning from photos of known defects: which way they differ from good parts, and how much that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.data import read_batches
from clipada.data.defects import Defects, marked_area
from clipada.images import resize_mask
from clipada.images.placing import mask_into_reference
from clipada.models.filter import SCALE
from clipada.models.known_defects import KnownDefects, unit_tokens
from clipada.models.memory import Retrieval
from clipada.models.memory_head import MemoryHead, cell_count
from clipada.runs import LearnedDefects
from clipada.runs.training import LEAST_GOOD, LEAST_PHOTOS
from clipada.training.answers import retrieval
from clipada.training.copies import References
from clipada.training.defect_weight import WEIGHTS, Judge, SeenImages
from clipada.training.directions import Direction, NormalPatches
from clipada.training.study import AT_ONCE, Study
from clipada.training.views import cut_boxes
from clipada.types import Placement, Sample

if TYPE_CHECKING:
    from clipada.training.memory import MemoryBuilder

COVERED = 0.5
"""Share of a patch that a mask covers where the patch shows the defect; the most covered one always does."""

LEAST_COVERED = 0.02
"""The same below which no patch shows it: the defect is outside of the part's box."""

IN_BOX, ANYWHERE = 0.9, 0.9995
"""Share of good patches whose evidence a patch must exceed to be taken for the defect: in a box, and in a photo without
box and mask."""

MOST_CELLS = 0.02
"""Largest share of the patches of a photo with neither box nor mask that are taken for the defect."""


class DefectLearner:
    """Learns from photos of known defects.

    Args:
        builder: The builder of the memory, which reads images.
        head: The memory's detector, with its scale.
        parts: Studies of the products as their boxes show them.
        whole: Studies of whole images, where the head has a memory of them.
        references: Makes the good images of each product, cut to its box, with those that its statistics are from.
    """

    def __init__(
        self,
        builder: MemoryBuilder,
        head: MemoryHead,
        parts: Mapping[str, Study],
        whole: Mapping[str, Study],
        references: Mapping[str, Callable[[], References]],
    ) -> None:
        self.builder = builder
        self.student = builder.student
        self.head = head
        self.parts = parts
        self.whole = whole
        self.references = references
        self.normal: dict[str, tuple[SeenImages, NormalPatches]] = {}

    @torch.inference_mode()
    def learn(self, defects: Defects) -> tuple[KnownDefects | None, dict[str, LearnedDefects]]:
        """Learn from the photos of each product; return what was learned, if anything, and its record."""
        known: dict[str, tuple[Tensor, Tensor]] = {}
        records: dict[str, LearnedDefects] = {}
        for number, name in enumerate(self.head.products):
            if samples := defects.of(name):
                records[name], direction = self.learn_product(number, name, samples)
                if direction is not None:
                    weight = records[name].weight
                    known[name] = (weight * direction.vector[None], weight * direction.offset[None])
        blocks, products = self.student.blocks, self.head.products
        width = blocks * self.head.bank.rows.shape[-1]
        return (KnownDefects.of_products(products, known, width, blocks) if known else None), records

    def learn_product(
        self, number: int, name: str, samples: Sequence[Sample]
    ) -> tuple[LearnedDefects, Direction | None]:
        """Learn from the photos of a product; return the record, and the direction if it finds more."""
        kinds = dict(Counter(sample.defect for sample in samples))
        if len(self.parts[name].descriptors) < LEAST_GOOD:
            return LearnedDefects(photos=len(samples), used=0, kinds=kinds, weight=0.0), None
        good, normal = self.read_good(number, name)
        read, photos, areas = self.read_photos(number, name, samples)
        cells = torch.stack(
            [
                defective(area, one, good.evidence, bool(s.masks))
                for s, area, one in zip(read, areas, photos.evidence, strict=True)
            ]
        )
        used = int(cells.any(dim=1).sum())
        if used < LEAST_PHOTOS:
            return LearnedDefects(photos=len(samples), used=used, kinds=kinds, weight=0.0), None
        judge = Judge(
            head=self.head,
            number=number,
            normal=normal,
            good=good,
            photos=photos,
            cells=cells,
            marked=[bool(sample.masks) for sample in read],
        )
        place, judged = judge.choose([sample.defect for sample in read])
        auroc = np.nanmean(judged.auroc, axis=0)
        record = LearnedDefects(
            photos=len(samples),
            used=used,
            kinds=kinds,
            weight=WEIGHTS[place],
            auroc_without=round(float(auroc[0]), 4),
            auroc_with=round(float(auroc[place]), 4),
        )
        return record, normal.toward(photos.tokens[cells]) if place else None

    def read_good(self, number: int, name: str) -> tuple[SeenImages, NormalPatches]:
        """Read good images of a product, once, with the memory's evidence without their own rows."""
        if name not in self.normal:
            images, part = self.references[name]().searched, self.parts[name]
            tokens = self.student.read(images, 1.0, f"reading good images of {name}").patches
            views = [(part.retrieval_without_own(self.head.bank, number), part.logits)]
            if self.head.whole is not None:
                wide = self.whole[name]
                views.append((wide.retrieval_without_own(self.head.whole, number), wide.logits))
            good = self.seen(tokens, views, part.inside if self.builder.config.inspection.tiled else None)
            highest = cell_count(good.tokens.shape[1], self.head.share)
            self.normal[name] = good, NormalPatches(good.tokens, highest)
        return self.normal[name]

    def read_photos(
        self, number: int, name: str, samples: Sequence[Sample]
    ) -> tuple[list[Sample], SeenImages, list[Tensor | None]]:
        """Read photos of defects.

        Returns:
            The photos that can be read, as the memory sees them, and the share of each of their patches that mask or
            boxes cover, ``(N,)``, where there are any.
        """
        model, student, crops = self.builder.config.model, self.student, self.head.crops
        paths, stage = [sample.path for sample in samples], f"reading defects of {name}"
        workers, align = self.builder.workers, self.builder.align(name)
        batches = list(read_batches(paths, model.size, AT_ONCE, workers, rules=model.rules, align=align))
        read = [samples[place] for batch in batches for place in batch.positions]
        images = np.concatenate([batch.images for batch in batches])
        sizes = [size for batch in batches for size in batch.sizes]
        placements = [place for batch in batches for place in batch.placements or [None] * len(batch.paths)]
        areas = [self.covered(number, *one) for one in zip(read, sizes, placements, strict=True)]
        patches = student.read(cut_boxes(images, crops, number), 1.0, stage).patches
        found = retrieval(self.head.bank, number, self.parts[name].rows.search(patches))
        views = [(found, student.logits(patches))]
        if self.head.whole is not None:
            wide = student.read(images, self.builder.config.filter.scale, stage).patches
            found = retrieval(self.head.whole, number, self.whole[name].rows.search(wide))
            views.append((found, student.logits(wide)))
        return read, self.seen(patches, views), areas

    def covered(
        self, number: int, sample: Sample, size: tuple[int, int], placement: Placement | None = None
    ) -> Tensor | None:
        """Return the share of each patch of the box that the mask or the boxes of a photo cover, ``(N,)``.

        ``placement`` is the place of the part in the photo if that was aligned.
        """
        area, crops = marked_area(sample, size), self.head.crops
        if area is None:
            return None
        area = area if placement is None else mask_into_reference(area, placement)
        mask = torch.from_numpy(resize_mask(area, self.builder.config.model.size)).float()[None, None]
        return F.adaptive_avg_pool2d(crops.cut(mask, torch.tensor([number])).clamp(0, 1), crops.grid).flatten()

    def seen(
        self, tokens: Tensor, views: Sequence[tuple[Retrieval, Tensor]], inside: Tensor | None = None
    ) -> SeenImages:
        """Return images as the memory sees them.

        Args:
            tokens: Their tokens in the part's box.
            views: What the memory answers, and CLIP-ADA's logits, in the part's box and in the whole image, where the
                head has a memory of it.
            inside: Regions of interest in the images, as for ``MemoryHead``.
        """
        part, *whole = views
        evidence = self.head.evidence(*part, *(whole[0] if whole else ()), inside=inside)
        return SeenImages(tokens=unit_tokens(tokens, self.student.blocks).half(), evidence=evidence, inside=inside)


def defective(area: Tensor | None, evidence: Tensor, good: Tensor, exact: bool) -> Tensor:
    """Choose the patches of a photo that are taken for the defect, ``(N,)`` bool.

    With a mask, those that it covers. In a box, those with more evidence than nearly all good patches, or else the one
    with most. Without either, the few with more evidence than all good ones, if there are any.

    Args:
        area: Share of each patch that mask or boxes cover, ``(N,)``; ``None`` without either.
        evidence: The memory's evidence, ``(4 h, 4 w)``.
        good: That of good images, ``(n, 4 h, 4 w)``.
        exact: True if ``area`` is from a mask.
    """
    if area is not None and float(area.max()) < LEAST_COVERED:
        return torch.zeros_like(area, dtype=torch.bool)
    patches, usual = (F.avg_pool2d(one[:, None], SCALE).flatten(1) for one in (evidence[None], good))
    values = patches[0]
    if area is None:
        count = max(1, round(MOST_CELLS * len(values)))
        limit = max(float(values.topk(count).values[-1]), float(np.quantile(usual.numpy(), ANYWHERE)))
        return values >= limit
    inside = area >= min(COVERED, float(area.max()))
    if exact:
        return inside
    above = inside & (values > float(np.quantile(usual.numpy(), IN_BOX)))
    return above if above.any() else inside & (values >= values[inside].max())
