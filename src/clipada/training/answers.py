"""A memory's answers for training images, whose own rows are left out, and for images with synthetic anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.config import MemoryConfig
from clipada.models.memory import PatchMemory, Retrieval, nearest_rows, quantize
from clipada.models.selection import select_rows

LEAST_SPREAD = 5e-4
"""Least standard deviation of distances: where all patches are alike, rounding in float32 is a part of it."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Distances of the patches of ``n`` images, as a memory of ``L`` blocks finds them.

    Attributes:
        distances: Cosine distances of ``K`` neighbors, ``(n, N, L, K)`` float16, ascending.
        nearest: Position of the nearest row, ``(n, N, L)`` int32.
    """

    distances: Tensor
    nearest: Tensor

    def of(self, images: Tensor) -> Answers:
        """Return the answers for some of the images, ``(n,)`` bool."""
        return Answers(distances=self.distances[images], nearest=self.nearest[images])


class ProductRows:
    """The rows of one product, with the image that each comes from.

    Args:
        tokens: Tokens of its training images and their copies, ``(n, N, L W)``, unit length in each block.
        sources: The image that each is a copy of, or itself, ``(n,)`` int64.
        blocks: ``L``.
        count: Rows of each block, a multiple of the number of neighbors.
        config: Choice of rows, and number of neighbors.
        generator: Source of all draws.
        inside: Tokens among which rows are chosen, ``(n, N)`` bool; ``None`` for all.
    """

    def __init__(
        self,
        tokens: Tensor,
        sources: Tensor,
        blocks: int,
        count: int,
        config: MemoryConfig,
        generator: torch.Generator,
        inside: Tensor | None = None,
    ) -> None:
        self.neighbors = config.neighbors
        images = sources.repeat_interleave(tokens.shape[1])
        flat = tokens.reshape(len(images), blocks, -1)
        if inside is not None:
            images, flat = images[inside.flatten()], flat[inside.flatten()]
        chosen = [select_rows(flat[:, block], count, config.selection, generator) for block in range(blocks)]
        places = repeated(torch.stack(chosen), count)
        self.rows = torch.stack([quantize(flat[own, block].float()) for block, own in enumerate(places)])
        self.images = images[places]
        self.units = F.normalize(self.rows.float(), dim=-1)

    def search(self, tokens: Tensor, own: Tensor | None = None) -> Answers:
        """Search for the tokens ``(n, N, L W)`` of images, without the rows of the training image ``own``, ``(n,)``."""
        found = [self._search_one(one, None if own is None else int(own[index])) for index, one in enumerate(tokens)]
        distances, nearest = (torch.stack(parts) for parts in zip(*found, strict=True))
        return Answers(distances=distances, nearest=nearest)

    def _search_one(self, tokens: Tensor, own: int | None) -> tuple[Tensor, Tensor]:
        blocks = F.normalize(tokens.float().reshape(len(tokens), len(self.rows), -1), dim=-1)
        found = []
        for block, (units, images) in enumerate(zip(self.units, self.images, strict=True)):
            similarity = blocks[:, block] @ units.T
            if own is not None:
                similarity[:, images == own] = -1
            found.append(nearest_rows(similarity.unsqueeze(0), self.neighbors))
        distances, nearest = zip(*found, strict=True)
        return torch.stack(distances, dim=3)[0].transpose(1, 2).half(), torch.stack(nearest, dim=2)[0].int()


@dataclass(frozen=True, kw_only=True)
class NormalDistances:
    """Distances of normal patches to the nearest row, in each block.

    Attributes:
        mean: ``(L,)``.
        std: ``(L,)``, more than 0.
        usual: Mean distance of the patches nearest to each row, ``(L, M)``; two patches at the mean are added, so that
            a row that few are near to has the mean.
    """

    mean: Tensor
    std: Tensor
    usual: Tensor

    @classmethod
    def of(cls, answers: Answers, rows: int, inside: Tensor | None = None) -> NormalDistances:
        """Measure the answers for training images, or for those of their patches that are inside, ``(n, N)`` bool."""
        first, _ = _nearest(answers, inside)
        std = first.std(dim=0, correction=min(1, len(first) - 1)).clamp_min(LEAST_SPREAD)
        mean = first.mean(dim=0)
        return cls(mean=mean, std=std, usual=usual_distances(answers, mean, rows, inside))


def usual_distances(answers: Answers, mean: Tensor, rows: int, inside: Tensor | None = None) -> Tensor:
    """Compute the usual distance of each row, ``(L, M)``, as in ``NormalDistances``.

    Args:
        answers: The answers for some training images.
        mean: Mean distance of normal patches, ``(L,)``.
        rows: ``M``.
        inside: The patches that count, ``(n, N)`` bool; ``None`` for all.
    """
    usual = []
    for distances, nearest, usually in zip(*(one.T for one in _nearest(answers, inside)), mean, strict=True):
        count = torch.bincount(nearest, minlength=rows)
        total = torch.zeros(rows).index_add_(0, nearest, distances)
        usual.append((total + 2 * usually) / (count + 2))
    return torch.stack(usual)


@dataclass(frozen=True, kw_only=True)
class SearchedImages:
    """The images of a product from which its usual distances are.

    Attributes:
        answers: The memory's answers for them, without their own rows.
        groups: The group of each, ``(n,)``: the image that it shows, or a fold.
        inside: Their tokens that count, ``(n, N)`` bool; ``None`` for all.
        rows: Number of rows that are searched, ``m``.
    """

    answers: Answers
    groups: Tensor
    inside: Tensor | None
    rows: int

    def usual_without(self, group: int, mean: Tensor) -> Tensor:
        """Compute the usual distances ``(L, m)`` of the rows, given their mean ``(L,)``, from all other groups."""
        others = self.groups != group
        inside = None if self.inside is None else self.inside[others]
        return usual_distances(self.answers.of(others), mean, self.rows, inside)


def _nearest(answers: Answers, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return distance and position of the nearest row of each patch that is inside, ``(p, L)``."""
    first, places = answers.distances[..., 0].float().flatten(0, 1), answers.nearest.flatten(0, 1).long()
    return (first, places) if inside is None else (first[inside.flatten()], places[inside.flatten()])


def repeated(values: Tensor, count: int) -> Tensor:
    """Repeat the values ``(L, m, ...)`` of rows until there are ``count``, ``(L, count, ...)``."""
    return values[:, torch.arange(count) % values.shape[1]]


def joined_answers(answers: Sequence[Answers]) -> Answers:
    """Join the answers of several groups of images."""
    distances = torch.cat([one.distances for one in answers])
    return Answers(distances=distances, nearest=torch.cat([one.nearest for one in answers]))


def retrieval(
    bank: PatchMemory, product: int, answers: Answers, shown: Tensor | None = None, usual: Tensor | None = None
) -> Retrieval:
    """Compare a product's answers with its normal distances, as the memory itself does.

    Args:
        bank: The memory.
        product: Number of the product.
        answers: Answers for ``n`` images.
        shown: As the memory takes it.
        usual: Usual distance of each patch's nearest row, ``(n, N, L)``; ``None`` for the memory's own.
    """
    products = torch.full((len(answers.distances),), product)
    usuals = [None] * bank.blocks if usual is None else usual.unbind(2)
    blocks = zip(answers.distances.float().unbind(2), answers.nearest.long().unbind(2), usuals, strict=True)
    parts = [
        bank.compare(distances, nearest, block, products, shown, own)
        for block, (distances, nearest, own) in enumerate(blocks)
    ]
    return Retrieval.of_blocks(parts, products)
