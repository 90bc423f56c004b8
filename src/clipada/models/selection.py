"""Choice of a memory's rows among normal patch tokens."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from clipada.config import Selection
from clipada.models.coreset import greedy_coreset, project

ROUNDS = 40
"""Rounds of the sampled choice."""

POWER = 3.0
"""Power of the distance in its probabilities: 0 would be a random choice, 2 that of k-means++."""

DIRECTIONS = 64
"""Main directions of the tokens, in which distances are measured."""

_SAMPLE = 8000
_AT_ONCE = 16_384


def select_rows(tokens: Tensor, count: int, kind: Selection, generator: Generator) -> Tensor:
    """Choose rows that cover all tokens.

    Args:
        tokens: Unit tokens, ``(N, W)`` float16 or float32.
        count: Number of rows.
        kind: How they are chosen.
        generator: Source of all draws, on the CPU.

    Returns:
        Positions ``(min(count, N),)`` or a few less, in random order.
    """
    if count >= len(tokens):
        return torch.randperm(len(tokens), generator=generator)
    if kind == "random":
        return torch.randperm(len(tokens), generator=generator)[:count]
    if kind == "greedy":
        chosen = greedy_coreset(project(tokens.float(), DIRECTIONS, generator), count, generator)
    else:
        chosen = _sampled(_main_directions(tokens, generator), count, generator)
    return chosen[torch.randperm(len(chosen), generator=generator)]


def _main_directions(tokens: Tensor, generator: Generator) -> Tensor:
    """Project tokens ``(N, W)`` on the directions of largest variance, ``(N, min(64, W))`` float32."""
    sample = tokens[torch.randperm(len(tokens), generator=generator)[:_SAMPLE]].float()
    mean = sample.mean(dim=0)
    main = torch.linalg.eigh((sample - mean).T @ (sample - mean)).eigenvectors[:, -DIRECTIONS:]
    return torch.cat([(part.float() - mean) @ main for part in torch.split(tokens, _AT_ONCE)])


def _sampled(points: Tensor, count: int, generator: Generator) -> Tensor:
    """Choose ``count`` points in rounds, each with a probability that grows with the distance to those before.

    A generalization of k-means++ (Arthur and Vassilvitskii, 2007) with another power and many points in a round.
    """
    step = -(-count // ROUNDS)
    squares, nearest = points.square().sum(dim=1), torch.full((len(points),), torch.inf)
    new = torch.randperm(len(points), generator=generator)[:step]
    chosen, left = [new], count - len(new)
    while left > 0:
        for start in range(0, len(points), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            apart = torch.addmm(squares[part, None], points[part], points[new].T, alpha=-2).add_(squares[new])
            nearest[part] = torch.minimum(nearest[part], apart.amin(dim=1))
        nearest[new] = 0
        mass = nearest.clamp_min(0).double().pow(POWER / 2).cumsum(dim=0)
        if not mass[-1] > 0:  # only copies of chosen points are left
            break
        drawn = torch.rand(min(step, left), generator=generator, dtype=torch.double) * mass[-1]
        new = torch.unique(torch.searchsorted(mass, drawn).clamp_max(len(points) - 1))
        chosen.append(new)
        left -= len(new)
    found: Tensor = torch.unique(torch.cat(chosen))
    return found
