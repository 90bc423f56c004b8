"""Studies of products: the rows of a memory that a view needs, and their answers for good images of the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config, Copies, MemoryConfig
from clipada.models.backbones import Reading
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import shown_tokens
from clipada.models.memory import PatchMemory, Retrieval
from clipada.models.memory_index import index_recall
from clipada.randomness import derived_generator
from clipada.training.answers import Answers, NormalDistances, ProductRows, SearchedImages, repeated, retrieval
from clipada.training.copies import TRIAL_SIDE, References, choose_copies, copies_each
from clipada.training.coverage import coverage
from clipada.training.tokens import TokenReader
from clipada.training.view_regions import ViewRegions
from clipada.types import Progress, ProgressReport

AT_ONCE = 32
"""Images read at a time."""

STATISTICS_IMAGES = 90
"""Images of a product whose answers, without their own rows, are the statistics of normal distances."""

_ASKED_IMAGES, _ASKED_PATCHES = 8, 256
"""Images, and patches of each, by which an index is measured."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The rows of one product in one view, and their answers for its own images.

    Attributes:
        rows: The rows.
        normal: Their answers for ``n`` images, without the image's own rows.
        left_out: The source whose rows were left out for each, ``(n,)``.
        logits: CLIP-ADA's logits of these images, ``(n, N)``.
        distances: Statistics of the answers.
        descriptors: Descriptors of all ``m`` images of the product, ``(m, D)``.
        coverage: Distance of the farthest patch of these images to all patches of other images over that to the rows of
            other images, in the block that loses most, 0..1: 1 if the rows are as good as all patches.
        asked: Tokens of some patches of some of these images, by which an index is measured, ``(a, p, L W)`` float16.
        asked_sources: The sources whose rows are left out for them, ``(a,)``.
        grid: Token grid ``(h, w)``.
        regions: Regions of interest in the ``n`` images; ``None`` if all of them counts.
    """

    rows: ProductRows
    normal: Answers
    left_out: Tensor
    logits: Tensor
    distances: NormalDistances
    descriptors: Tensor
    coverage: float
    asked: Tensor
    asked_sources: Tensor
    grid: tuple[int, int]
    regions: ViewRegions | None = None

    @property
    def shown(self) -> Tensor | None:
        """The tokens of the ``n`` images that show any of the region of interest, ``(n, N)`` bool."""
        return None if self.regions is None else self.regions.tokens(self.grid)

    @property
    def inside(self) -> Tensor | None:
        """The region of interest in each of the ``n`` images, ``(n, H, W)`` bool."""
        return None if self.regions is None else self.regions.pixels

    def repeated(self, count: int) -> tuple[Tensor, Tensor]:
        """Return rows ``(L, M, W)`` and their usual distances ``(L, M)``, repeated to ``count`` rows."""
        return repeated(self.rows.rows, count), repeated(self.distances.usual, count)

    def retrieval(self, bank: PatchMemory, product: int) -> Retrieval:
        """Return the answers for the good images as the joined memory of all products gives them."""
        return retrieval(bank, product, self.normal, self.shown)

    def retrieval_without_own(self, bank: PatchMemory, product: int) -> Retrieval:
        """Return the same, compared with distances that are usual for the other images, as a new image is."""
        usual, rows = torch.empty(self.normal.nearest.shape), self.rows.rows.shape[1]
        images = SearchedImages(answers=self.normal, groups=self.left_out, inside=self.shown, rows=rows)
        for source in set(self.left_out.tolist()):
            own, found = self.left_out == source, images.usual_without(source, self.distances.mean)
            places = self.normal.nearest[own].long()
            usual[own] = torch.stack([one[near] for one, near in zip(found, places.unbind(2), strict=True)], dim=2)
        return retrieval(bank, product, self.normal, self.shown, usual)

    def recall(self) -> float:
        """Measure the share of patches whose nearest row an index finds, without the rows of these images.

        Returns:
            0..1, in the block where it is least; 1 if there are rows of no other image.
        """
        found = [1.0]
        tokens = self.asked.float().flatten(0, 1).unflatten(1, (len(self.rows.rows), -1))  # type: ignore[no-untyped-call]
        for block, (rows, images) in enumerate(zip(self.rows.rows, self.rows.images, strict=True)):
            others = rows[~torch.isin(images, self.asked_sources)]
            others = others[: len(others) // self.rows.neighbors * self.rows.neighbors]
            if len(others):
                found.append(index_recall(others, self.rows.neighbors, tokens[:, block]))
        return min(found)


class Student:
    """Studies products: reads the tokens of their images and chooses rows.

    Args:
        model: The model whose backbone reads tokens, and whose logits the filter may see.
        config: All settings.
        reader: Tokens of images.
        report: Called after every batch.
    """

    def __init__(self, model: ClipAda, config: Config, reader: TokenReader, report: ProgressReport) -> None:
        self.model = model
        self.config = config
        self.reader = reader
        self.report = report
        self.blocks = len(model.backbone.blocks)
        with torch.inference_mode():
            self.text = model.text_vector()

    def study(self, name: str, own: References, scale: float = 1.0) -> Study:
        """Choose the rows of a product at a size, and search them for some of its images without their own rows.

        Args:
            name: The product.
            own: Its good images, their copies, and the images that are searched for.
            scale: Size at which they are read, as a share of theirs.
        """
        reading = self.read(own.images, scale, f"reading {name}")
        units = self.units(reading.patches)
        known = own.originals > 1
        searched = reading.patches[own.places] if known else self.read(own.searched, scale, f"reading {name}").patches
        descriptors = reading.descriptors[: own.originals]
        del reading  # as large as the units
        every = -(-len(own.places) // _ASKED_IMAGES)
        grid = self.grid(own.images, scale)
        inside = own.inside(grid)
        rows = self.choose_rows(name, units, own.sources, inside)
        normal = rows.search(searched, own.left_out)
        if inside is not None:
            inside = inside[own.places]
        return Study(
            rows=rows,
            normal=normal,
            left_out=own.left_out,
            logits=self.logits(searched),
            distances=NormalDistances.of(normal, rows.rows.shape[1], inside),
            descriptors=descriptors,
            coverage=coverage(units, own, normal, inside),
            asked=units[own.places[::every]][:, :: -(-units.shape[1] // _ASKED_PATCHES)],
            asked_sources=own.left_out[::every],
            grid=grid,
            regions=None if own.regions is None else own.regions.at(own.places),
        )

    def choose_rows(self, name: str, units: Tensor, sources: Tensor, inside: Tensor | None = None) -> ProductRows:
        """Choose a product's rows among the tokens ``(n, N, L W)`` of its images and their copies.

        Args:
            name: The product.
            units: The tokens.
            sources: The image that each is a copy of, or itself, ``(n,)``.
            inside: The tokens among which rows are chosen, ``(n, N)`` bool; ``None`` for all.
        """
        memory = self.config.memory
        most = memory.most_rows(units.shape[2] // self.blocks, self.blocks)
        available = units.shape[0] * units.shape[1] if inside is None else int(inside.sum())
        count = -(-min(most, available) // memory.neighbors) * memory.neighbors
        generator = derived_generator(self.config.training.seed, "memory rows", name)
        return ProductRows(units, sources, self.blocks, count, memory, generator, inside)

    def grid(self, images: NDArray[np.uint8], scale: float) -> tuple[int, int]:
        """Return the token grid ``(h, w)`` of images ``(m, H, W, 3)`` at a scale."""
        return self.model.backbone.grid(self.model.backbone.scaled_size(images.shape[1:3], scale))

    def choose_copies(
        self, name: str, products: Mapping[str, NDArray[np.uint8]], inside: NDArray[np.bool_] | None = None
    ) -> Copies:
        """Choose the copies of a product's images: as the settings say, or by a trial on small images.

        The tiles of an image show its parts in many places: they are copied only if the settings say so.

        Args:
            name: The product.
            products: Good images of all products, ``(n, H, W, 3)``.
            inside: The product's region of interest, ``(H, W)``.
        """
        kind, images = self.config.memory.copies, products[name]
        if kind == "auto" and self.config.inspection.tiled:
            return "none"
        if kind != "auto":
            return kind if copies_each(len(images)) else "none"
        scale = min(1.0, TRIAL_SIDE / max(images.shape[1:3]))

        def units(own: NDArray[np.uint8]) -> Tensor:
            patches = self.read(own, scale, f"trying copies of {name}").patches
            return self.units(patches).float().reshape(*patches.shape[:2], self.blocks, -1)

        return choose_copies(name, products, units, self.grid(images, scale), self.config.training.seed, inside)

    def read(self, images: NDArray[np.uint8], scale: float, stage: str) -> Reading:
        """Read the tokens of images at a scale; report after every batch."""
        found = []
        for start in range(0, len(images), AT_ONCE):
            found.append(self.reader.read(images[start : start + AT_ONCE], scale))
            self.report(Progress(stage=stage, done=min(len(images), start + AT_ONCE), total=len(images)))
        return Reading(torch.cat([one.patches for one in found]), torch.cat([one.descriptors for one in found]))

    def units(self, patches: Tensor) -> Tensor:
        """Return tokens ``(n, N, L W)`` at unit length in each block, as float16."""
        units = torch.empty_like(patches, dtype=torch.float16)
        for part, unit in zip(torch.split(patches, AT_ONCE), torch.split(units, AT_ONCE), strict=True):  # less RAM
            blocks = part.float().unflatten(2, (self.blocks, -1))  # type: ignore[no-untyped-call]
            unit.copy_(F.normalize(blocks, dim=-1).flatten(2))
        return units

    @torch.inference_mode()
    def logits(self, patches: Tensor) -> Tensor:
        """Compute the model's coarse logits of tokens ``(n, N, L W)``, ``(n, N)``."""
        device = self.text.device
        parts = [self.model.projections[0](part.float().to(device)) for part in torch.split(patches, AT_ONCE)]
        return torch.cat([self.model.similarity(part, self.text).cpu() for part in parts])


def drawn_images(count: int, seed: int, name: str) -> Tensor:
    """Draw the positions of a product's images whose answers are its statistics, ascending."""
    return (
        torch.randperm(count, generator=derived_generator(seed, "normal statistics", name))[:STATISTICS_IMAGES]
        .sort()
        .values
    )


def joined_memory(
    studies: Mapping[str, Study],
    centers: Tensor,
    neighbors: int,
    indexed: bool = False,
    inside: Tensor | None = None,
) -> PatchMemory:
    """Join the products' rows and statistics; a product with fewer rows than another repeats them.

    Args:
        studies: One of each product, of the same view.
        centers: Mean descriptors of the products, ``(P, D)``.
        neighbors: Neighbors that the memory finds.
        indexed: True to search by an index.
        inside: Regions of interest of the products in this view, ``(P, H, W)``.
    """
    most = max(study.rows.rows.shape[1] for study in studies.values())
    parts = [study.repeated(most) for study in studies.values()]
    rows, usual = (torch.stack(part, dim=1) for part in zip(*parts, strict=True))
    return PatchMemory(
        list(studies),
        rows=rows,
        usual=usual.half(),
        distance_mean=torch.stack([study.distances.mean for study in studies.values()], dim=1),
        distance_std=torch.stack([study.distances.std for study in studies.values()], dim=1),
        centers=centers,
        neighbors=neighbors,
        indexed=indexed,
        inside=None if inside is None else shown_tokens(inside, next(iter(studies.values())).grid),
    )


def measured_recall(views: Sequence[Mapping[str, Study]], config: MemoryConfig) -> dict[str, float]:
    """Measure the recall of an index of each product's rows in the view where it is least; nothing if none is used."""
    if not config.measures_recall(max(study.rows.rows.shape[1] for study in views[0].values())):
        return {}
    return {name: round(min(view[name].recall() for view in views), 4) for name in views[0]}
