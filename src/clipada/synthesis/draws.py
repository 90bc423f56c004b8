"""Random draws from a generator, on the generator's own device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def uniform(low: float, high: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Float32 draws from ``[low, high)``, of ``shape``."""
    return low + (high - low) * torch.rand(tuple(shape), generator=generator, device=generator.device)


def log_uniform(low: float, high: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Float32 draws whose logarithm is uniform from ``low`` to ``high``, both positive."""
    return uniform(math.log(low), math.log(high), shape, generator).exp()


def integers(low: int, high: int, shape: Sequence[int], generator: Generator) -> Tensor:
    """Int64 draws from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, tuple(shape), generator=generator, device=generator.device)


def chance(probability: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Bool draws, each true with ``probability``."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device) < probability


def per_image(values: Tensor) -> Tensor:
    """``(B,)`` as ``(B, 1, 1)``, to meet fields ``(B, H, W)``."""
    return values[:, None, None]
