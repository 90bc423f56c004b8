"""Random draws from a generator, on the generator's device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def uniform(low: float, high: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw float32 values from ``[low, high)``, of ``shape``."""
    return low + (high - low) * torch.rand(tuple(shape), generator=generator, device=generator.device)


def log_uniform(low: float, high: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw float32 values whose logarithm is uniform from ``low`` to ``high``, both positive."""
    return uniform(math.log(low), math.log(high), shape, generator).exp()


def integers(low: int, high: int, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw int64 values from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, tuple(shape), generator=generator, device=generator.device)


def chance(probability: float, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw bool values, each true with ``probability``."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device) < probability


def per_image(values: Tensor) -> Tensor:
    """Reshape ``(B,)`` to ``(B, 1, 1)``, to broadcast against fields ``(B, H, W)``."""
    return values[:, None, None]
