"""Random generators derived from a seed and a purpose, never from global state."""

from __future__ import annotations

import hashlib

import torch


def derived_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a separate generator for each purpose, e.g. ``(seed, "synthesis", epoch, step)``.

    The same arguments give the same stream on the same kind of device in any process, so that a training can be resumed
    at any step.
    """
    text = "/".join(map(str, (seed, *purpose)))
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator(device=device).manual_seed(value)
