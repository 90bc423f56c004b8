"""Direction from normal patches to those of known defects, in closed form, and what good parts reach along it.

Fisher's linear discriminant: with the mean ``m`` and the covariance ``C`` of a product's normal patches, and the mean
``d`` of defective ones, the direction is ``C^-1 (d - m)``. It points where defects differ from normal patches and away
from what varies among these. It needs few defects, as only their mean counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 5
"""Groups of good images; what each reaches is measured along a direction that the others have given."""

RIDGE = 0.1
"""Part of the mean variance of a channel that is added to the variance of each."""

QUIET = 0.9
"""Share of the good images that gain nothing."""


class Direction(NamedTuple):
    """A direction, and the level below which nothing is gained.

    Attributes:
        vector: ``(D,)``; normal patches have a standard deviation of about 1 along it.
        offset: Minus the level, ``()``.
        good: What the patches of each good image gain, ``(n, N)``, 0 or more; along directions without its group.
    """

    vector: Tensor
    offset: Tensor
    good: Tensor

    def gain(self, tokens: Tensor) -> Tensor:
        """Return what patches ``(..., D)`` gain, ``(...)``, 0 or more."""
        return (tokens.float() @ self.vector + self.offset).clamp_min(0)


class NormalPatches:
    """Mean and covariance of the normal patches of a product, of all good images and of all but each group.

    Args:
        tokens: Tokens of ``n`` good images, ``(n, N, D)``, of unit length in each block.
        highest: Number of an image's highest patches whose mean is the image's value.
    """

    def __init__(self, tokens: Tensor, highest: int) -> None:
        self.tokens = tokens
        self.highest = highest
        self.groups = torch.arange(len(tokens)) % min(GROUPS, len(tokens))
        parts = [_moments(tokens[self.groups == group]) for group in range(int(self.groups.max()) + 1)]
        count, total, squares = (sum(values) for values in zip(*parts, strict=True))
        self.whole = _inverse(count, total, squares)
        self.without = [_inverse(count - one, total - two, squares - three) for one, two, three in parts]

    def toward(self, defective: Tensor) -> Direction:
        """Return the direction to the mean of defective patches ``(c, D)``."""
        target = defective.double().mean(dim=0)
        reached = torch.zeros(self.tokens.shape[:2])
        for group, (mean, inverse) in enumerate(self.without):
            own = self.groups == group
            vector, start = _direction(target, mean, inverse)
            reached[own] = self.tokens[own].float() @ vector - start
        level = reached.topk(self.highest, dim=1).values.mean(dim=1).quantile(QUIET)
        vector, start = _direction(target, *self.whole)
        return Direction(vector, -(start + level), (reached - level).clamp_min(0))


def _moments(tokens: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return number, sum ``(D,)`` and sum of products ``(D, D)`` of the patches of images ``(n, N, D)``."""
    width = tokens.shape[2]
    total, squares = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for image in tokens.float():
        total += image.sum(dim=0)
        squares += image.T @ image
    return tokens.shape[0] * tokens.shape[1], total, squares


def _inverse(count: int, total: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean ``(D,)`` and the inverse of the widened covariance ``(D, D)`` in float64."""
    mean = total / count
    covariance = squares / count - torch.outer(mean, mean)
    ridge = RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    return mean, torch.linalg.inv(covariance + ridge * torch.eye(len(mean), dtype=torch.float64))


def _direction(target: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction to a target, scaled to the spread of normal patches, and their mean along it."""
    vector = inverse @ (target - mean)
    vector = vector / (vector @ (target - mean)).clamp_min(1e-12).sqrt()
    return vector.float(), (vector @ mean).float()
