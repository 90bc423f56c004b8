"""Random generators derived from a seed and a purpose, never from global state."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derived_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a separate generator for each purpose, e.g. ``(seed, "synthesis", epoch, step)``.

    The same arguments give the same stream on the same kind of device in any process, so that a training can be resumed
    at any step.
    """
    return torch.Generator(device=device).manual_seed(_derived(seed, *purpose))


def derived_rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator for each purpose, as ``derived_generator`` does."""
    return np.random.default_rng(_derived(seed, *purpose))


def _derived(seed: int, *purpose: str | int) -> int:
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
