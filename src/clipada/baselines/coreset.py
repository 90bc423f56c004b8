"""Greedy core-sets and nearest neighbours, in bounded memory."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

DISTANCES_AT_ONCE = 2**24
"""How many distances are in memory at a time: 64 MiB of them."""


def project(features: Tensor, dimensions: int, generator: Generator) -> Tensor:
    """A random projection, which keeps distances nearly as they are (Johnson and Lindenstrauss, 1984).

    Args:
        features: ``(N, D)``.
        dimensions: ``k``; features that are no wider stay as they are.
        generator: Where the projection comes from, on the CPU.

    Returns:
        ``(N, min(k, D))``: ``features P``, the entries of ``P`` normal with variance ``1 / k``.
    """
    width = features.shape[1]
    if width <= dimensions:
        return features
    matrix = torch.randn(width, dimensions, generator=generator).to(features.device)
    return torch.mm(features, matrix / dimensions**0.5)


def greedy_coreset(features: Tensor, count: int, generator: Generator) -> Tensor:
    """Choose features that cover all others: again and again the one farthest from those chosen.

    The largest distance of any feature to the nearest chosen one is at most twice what the best choice of as many
    could reach (Gonzalez, 1985), whichever comes first.

    Args:
        features: ``(N, D)``.
        count: How many, up to ``N``.
        generator: Chooses the first, on the CPU.

    Returns:
        ``(count,)`` int64, positions in the order in which they were chosen, none twice.
    """
    chosen = torch.empty(count, dtype=torch.long, device=features.device)
    squares = features.square().sum(dim=1)
    nearest = torch.full_like(squares, float("inf"))
    position = torch.randint(len(features), (), generator=generator).to(features.device)
    for place in range(count):
        chosen[place] = position
        distances = squares + squares[position] - 2 * (features @ features[position])
        nearest = torch.minimum(nearest, distances.clamp(min=0))
        nearest[position] = -1
        position = nearest.argmax()
    return chosen


def nearest_neighbours(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest bank feature of each query.

    Candidates are compared by matrix products; the distance to the one found is then taken exactly, so that a query
    that is in the bank has distance 0.

    Args:
        queries: ``(Q, D)``.
        bank: ``(M, D)``.

    Returns:
        distances: ``(Q,)``, Euclidean.
        positions: ``(Q,)`` int64, in the bank.
    """
    rows = max(1, DISTANCES_AT_ONCE // len(bank))
    positions = torch.cat([torch.cdist(chunk, bank).argmin(dim=1) for chunk in torch.split(queries, rows)])
    return (queries - bank[positions]).norm(dim=1), positions
