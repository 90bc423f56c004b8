"""Random draws that follow from a seed and a purpose, never from a global state."""

from __future__ import annotations

import hashlib

import torch


def derived_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each purpose, e.g. ``(seed, "synthesis", epoch, step)``.

    The same arguments always give the same stream on the same kind of device, in any process, so that a training can
    be resumed at any step.
    """
    text = "/".join(map(str, (seed, *purpose)))
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator(device=device).manual_seed(value)
