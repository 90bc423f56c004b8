"""Greedy core-sets and nearest neighbors, in bounded memory."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

DISTANCES_AT_ONCE = 2**22
"""Number of distances in memory at a time: 16 MiB, about the size of a processor's cache."""

BANK_AT_ONCE = 2**13
"""Features of a bank that are compared at a time, with many queries: fewer queries would wait for the memory."""

POOL = 4096
"""Number of features farthest from the core-set among which single choices are made."""


def project(features: Tensor, dimensions: int, generator: Generator) -> Tensor:
    """Project features at random, which nearly preserves distances (Johnson and Lindenstrauss, 1984).

    Args:
        features: ``(N, D)``.
        dimensions: ``k``; features that are not wider are returned unchanged.
        generator: Source of the projection matrix, on the CPU.

    Returns:
        ``(N, min(k, D))``: ``features P``, the entries of ``P`` normal with variance ``1 / k``.
    """
    width = features.shape[1]
    if width <= dimensions:
        return features
    matrix = torch.randn(width, dimensions, generator=generator).to(features.device)
    return torch.mm(features, matrix / dimensions**0.5)


def greedy_coreset(features: Tensor, count: int, generator: Generator) -> Tensor:
    """Choose features that cover all others: repeatedly the one farthest from those chosen so far.

    The largest distance of any feature to the nearest chosen one is at most twice that of the best possible choice of
    the same size (Gonzalez, 1985), for any first choice.

    Most features are compared only once per many choices: as long as the farthest of the ``POOL`` farthest features is
    at least as far as every feature outside the pool was at the start, it is the farthest of all, because distances
    never grow. All features are then compared with the choices made meanwhile in one matrix product.

    Args:
        features: ``(N, D)``.
        count: Number of choices, up to ``N``.
        generator: Source of the first choice, on the CPU.

    Returns:
        ``(count,)`` int64, distinct positions in the order of choice.
    """
    squares = features.square().sum(dim=1)
    nearest = torch.full_like(squares, float("inf"))
    chosen = torch.randint(len(features), (1,), generator=generator).to(features.device)
    fresh = chosen
    while len(chosen) < count:
        _update_nearest(nearest, features, squares, fresh)
        distances, pool = nearest.topk(min(POOL, len(nearest)))
        fresh = pool[_farthest(features[pool], squares[pool], distances, count - len(chosen))]
        chosen = torch.cat([chosen, fresh])
    return chosen


def _update_nearest(nearest: Tensor, features: Tensor, squares: Tensor, fresh: Tensor) -> None:
    """Lower ``nearest``, ``(N,)`` squared distances, to those to the ``fresh`` choices; to -1 for the choices."""
    rows = max(1, DISTANCES_AT_ONCE // len(fresh))
    others, their_squares = features[fresh].T, squares[fresh]
    parts = (torch.split(values, rows) for values in (features, nearest, squares))
    for part, known, own in zip(*parts, strict=True):
        least = torch.addmm(their_squares, part, others, alpha=-2).amin(dim=1)
        torch.minimum(known, least.add_(own).clamp_(min=0), out=known)
    nearest[fresh] = -1


def _farthest(features: Tensor, squares: Tensor, nearest: Tensor, limit: int) -> Tensor:
    """Choose the farthest feature repeatedly, as long as it is at least as far as the last of ``nearest`` was at first.

    Args:
        features: ``(P, D)``.
        squares: ``(P,)``, their squared norms.
        nearest: ``(P,)``, squared distances to the nearest choice, in descending order.
        limit: Largest number of choices.

    Returns:
        Positions in the pool, at least one.
    """
    bound = float(nearest[-1])
    chosen: list[int] = []
    while len(chosen) < limit:
        value, position = nearest.max(dim=0)
        if chosen and float(value) < bound:
            break
        chosen.append(int(position))
        distances = torch.addmv(squares, features, features[position], alpha=-2).add_(squares[position])
        nearest = torch.minimum(nearest, distances.clamp_(min=0))
        nearest[position] = -1
    return torch.tensor(chosen, device=features.device)


def nearest_neighbors(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest bank feature of each query.

    Candidates are compared by matrix products, ``|m|^2 / 2 - q m``; the distance to the nearest is then computed
    exactly, so that a query that is in the bank has distance 0.

    Args:
        queries: ``(Q, D)``.
        bank: ``(M, D)``.

    Returns:
        distances: ``(Q,)``, Euclidean.
        positions: ``(Q,)`` int64, positions in the bank.
    """
    rows = max(1, DISTANCES_AT_ONCE // min(len(bank), BANK_AT_ONCE))
    half_squares = bank.square().sum(dim=1) / 2
    positions = torch.cat([_nearest(chunk, bank, half_squares) for chunk in torch.split(queries, rows)])
    return (queries - bank[positions]).norm(dim=1), positions


def _nearest(queries: Tensor, bank: Tensor, half_squares: Tensor) -> Tensor:
    """Return the position of the nearest bank feature of each query: of equally near ones the first."""
    best = torch.full((len(queries),), torch.inf, dtype=bank.dtype, device=bank.device)
    positions = torch.zeros(len(queries), dtype=torch.int64, device=bank.device)
    parts = zip(torch.split(bank, BANK_AT_ONCE), torch.split(half_squares, BANK_AT_ONCE), strict=True)
    for start, (part, halves) in zip(range(0, len(bank), BANK_AT_ONCE), parts, strict=True):
        values, places = torch.addmm(halves, queries, part.T, alpha=-1).min(dim=1)
        nearer = values < best
        best, positions = torch.where(nearer, values, best), torch.where(nearer, places + start, positions)
    return positions
