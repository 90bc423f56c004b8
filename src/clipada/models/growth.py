"""Growth of a memory: rows of more products and of more conditions join those that are there.

A memory searches ``K`` equal parts of a product's rows. Whatever joins or is repeated does so inside of these parts, so
that the nearest row of each part, and with it every answer for a product that nothing was added to, stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.config import Selection
from clipada.models.memory_index import first_places
from clipada.models.selection import select_rows


class Statistics(NamedTuple):
    """Distances of normal patches to the nearest row, and the number of images that they are from.

    Attributes:
        images: The number.
        mean: ``(L,)``.
        std: ``(L,)``.
    """

    images: int
    mean: Tensor
    std: Tensor


class Rows(NamedTuple):
    """Rows of one product.

    Attributes:
        rows: ``(L, M, W)`` int8; ``M`` is a multiple of the number of parts.
        usual: Usual distance of each, ``(L, M)``.
    """

    rows: Tensor
    usual: Tensor

    @property
    def length(self) -> int:
        """Number of rows in each block, ``M``."""
        return self.rows.shape[1]

    def repeated(self, count: int, parts: int) -> Rows:
        """Repeat the rows of each part until there are ``count`` in all."""
        return Rows(*(_repeated(values, count, parts) for values in self))

    def distinct(self, parts: int) -> Rows:
        """Drop rows that are repeated in their part, as far as all parts of all blocks have some."""
        lengths, places = [], []
        for part in self.rows.unflatten(1, (parts, -1)).flatten(0, 1):  # type: ignore[no-untyped-call]
            places.append(first_places(part))
            lengths.append(len(places[-1]))
        chosen = torch.stack([place.repeat(-(-max(lengths) // len(place)))[: max(lengths)] for place in places])
        chosen = chosen.unflatten(0, (-1, parts))  # type: ignore[no-untyped-call]
        return Rows(*(_taken(values, chosen) for values in self))

    def thinned(self, count: int, kind: Selection, generator: torch.Generator) -> Rows:
        """Choose ``count`` rows of each block that cover the others."""
        chosen = []
        for block in self.rows:
            places = select_rows(F.normalize(block.float(), dim=-1), count, kind, generator)
            chosen.append(places.repeat(-(-count // len(places)))[:count])
        return Rows(*(_taken(values, torch.stack(chosen).unsqueeze(1)) for values in self))


def joined(groups: Sequence[Rows], parts: int) -> Rows:
    """Join rows of the same product."""
    return Rows(*(join_parts(values, parts) for values in zip(*groups, strict=True)))


def join_parts(values: Sequence[Tensor], parts: int) -> Tensor:
    """Join values of rows, each ``(L, M, ...)``, part by part."""
    split = [one.unflatten(1, (parts, -1)) for one in values]  # type: ignore[no-untyped-call]
    return torch.cat(split, dim=2).flatten(1, 2)


def last_of_parts(values: Tensor, count: int, parts: int) -> Tensor:
    """Return those of the ``count`` rows that joined last, of values ``(L, M, ...)``: ``(L, count, ...)``."""
    split = values.unflatten(1, (parts, -1))  # type: ignore[no-untyped-call]
    found: Tensor = split[:, :, split.shape[2] - count // parts :].flatten(1, 2)
    return found


def pooled(groups: Sequence[Statistics]) -> Statistics:
    """Return the statistics of the images of several groups together, each image with the same weight."""
    images = sum(group.images for group in groups)
    shares = [group.images / images for group in groups]
    mean = torch.stack([share * group.mean for share, group in zip(shares, groups, strict=True)]).sum(dim=0)
    squares = [
        share * (group.std.square() + (group.mean - mean).square()) for share, group in zip(shares, groups, strict=True)
    ]
    return Statistics(images, mean, torch.stack(squares).sum(dim=0).sqrt())


def _repeated(values: Tensor, count: int, parts: int) -> Tensor:
    """Repeat values ``(L, M, ...)`` in each part to ``(L, count, ...)``."""
    split = values.unflatten(1, (parts, -1))  # type: ignore[no-untyped-call]
    length = count // parts
    places = torch.arange(length) % split.shape[2]
    repeated: Tensor = split[:, :, places].flatten(1, 2)
    return repeated


def _taken(values: Tensor, places: Tensor) -> Tensor:
    """Take values ``(L, M, ...)`` at places ``(L, K, m)`` in each of ``K`` parts, ``(L, K m, ...)``."""
    split = values.unflatten(1, (places.shape[1], -1))  # type: ignore[no-untyped-call]
    index = places.reshape(*places.shape, *([1] * (split.dim() - 3))).expand(*places.shape, *split.shape[3:])
    taken: Tensor = split.gather(2, index).flatten(1, 2)
    return taken
