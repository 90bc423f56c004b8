"""Normal prototypes: how unfamiliar a patch is, beside how anomalous the prompt finds it. They go beyond the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count as count_from
from typing import Self

import torch
from torch import Generator, Tensor, nn

from clipada.data import read_batches
from clipada.errors import DatasetError
from clipada.models.backbones import FrozenClip
from clipada.types import Sample

MOST_TOKENS = 65_536
"""Prototypes are found among at most this many patches, as many of each image: memory is bounded for any data set."""

LEAST_MEMBERS = 16
"""There is at most one prototype for this many patches, or a few images would be learned by heart."""

ROUNDS = 10
"""Rounds of k-means."""

BATCH = 16
"""Images at a time."""

STEPS = 16
"""Prototypes are kept in 8 bits, in 16ths of a channel's deviation."""

_ROWS = 8192
"""Patches whose distances are held at a time."""


class Prototypes(nn.Module):
    """Typical patches of normal images; what is like none of them is unfamiliar.

    Of the tokens that the maps are read from, with every channel at unit deviation (a few would drown the others):
    ``u(F) = (min_k |F - C_k| - mean) / std``, mean and deviation those of the normal patches the prototypes were found
    among. Shapes: ``K`` prototypes of width ``D``.

    Args:
        centres: ``C``, ``(K, D)`` int8, in 16ths of the channels' deviations, from their means.
        channel_mean: ``(D,)``.
        channel_std: ``(D,)``, more than 0.
        distance_mean: A normal patch's distance to the nearest prototype, a scalar.
        distance_std: Its standard deviation, a scalar more than 0.
    """

    centres: Tensor
    channel_mean: Tensor
    channel_std: Tensor
    distance_mean: Tensor
    distance_std: Tensor

    def __init__(
        self, centres: Tensor, channel_mean: Tensor, channel_std: Tensor, distance_mean: Tensor, distance_std: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("centres", centres.float() / STEPS)
        self.register_buffer("channel_mean", channel_mean)
        self.register_buffer("channel_std", channel_std)
        self.register_buffer("distance_mean", distance_mean)
        self.register_buffer("distance_std", distance_std)

    def forward(self, tokens: Tensor) -> Tensor:
        """How many deviations further patches ``(B, N, D)`` lie from all prototypes than normal ones: ``(B, N)``."""
        return (self.distances(tokens) - self.distance_mean) / self.distance_std

    def distances(self, tokens: Tensor) -> Tensor:
        """The distance of patches ``(..., D)`` to the nearest prototype, ``(...)``, 0 or more."""
        scaled = (tokens - self.channel_mean) / self.channel_std
        with torch.autocast(tokens.device.type, enabled=False):  # differences of large squares
            nearest = self.nearest_squared(scaled.float())
        return nearest.clamp_min(0).sqrt()

    def nearest_squared(self, scaled: Tensor) -> Tensor:
        """The squared distance of patches ``(..., D)``, channels at unit deviation, to the nearest prototype."""
        return _squared(scaled, self.centres).amin(-1)

    def tensors(self) -> dict[str, Tensor]:
        """The arguments that make them, by name."""
        return {name: _in_steps(value) if name == "centres" else value for name, value in self.named_buffers()}

    @classmethod
    def found_among(
        cls, tokens: Tensor, count: int, generator: Generator, on_round: Callable[[], None] = lambda: None
    ) -> Self:
        """Find prototypes among normal patches by k-means.

        Args:
            tokens: ``(N, D)``.
            count: How many; fewer if there are not ``LEAST_MEMBERS`` patches for each.
            generator: Draws the first centres, on the CPU.
            on_round: Called after each of the ``ROUNDS`` rounds.
        """
        mean, std = tokens.mean(0), tokens.std(0, correction=0).clamp_min(1e-6)
        most = max(1, min(count, len(tokens) // LEAST_MEMBERS))
        found = _k_means((tokens - mean) / std, most, generator, on_round)
        centres = _in_steps(found)
        plain = cls(centres, mean, std, torch.zeros(()), torch.ones(()))
        distances = torch.cat([plain(rows) for rows in torch.split(tokens, _ROWS)])
        return cls(centres, mean, std, distances.mean(), distances.std(correction=0).clamp_min(1e-6))


@torch.inference_mode()
def find_prototypes(
    clip: FrozenClip,
    samples: Sequence[Sample],
    count: int,
    size: int,
    generator: Generator,
    workers: int = 2,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Prototypes:
    """Find prototypes among the patches of normal images, as the coarse pass sees them.

    Args:
        clip: Makes the tokens.
        samples: Normal images; at most ``MOST_TOKENS`` of their patches are looked at, drawn at random.
        count: How many prototypes.
        size: Side of the square that images are resized to, in pixels.
        generator: Source of all draws, on the CPU.
        workers: Threads that decode.
        report: Called after every batch of images and every round of k-means, with the steps done and those in all.

    Raises:
        DatasetError: No image can be read.
    """
    chosen = samples[:: -(-len(samples) // MOST_TOKENS)]
    steps, total = count_from(1), -(-len(chosen) // BATCH) + ROUNDS
    found = list(_drawn_tokens(clip, chosen, size, generator, workers, lambda: report(next(steps), total)))
    if not found:
        raise DatasetError("no normal image can be read to find prototypes in", remedy="check the files")
    prototypes = Prototypes.found_among(torch.cat(found), count, generator, lambda: report(next(steps), total))
    return prototypes.to(clip.mean.device)


def _drawn_tokens(
    clip: FrozenClip,
    samples: Sequence[Sample],
    size: int,
    generator: Generator,
    workers: int,
    on_batch: Callable[[], None],
) -> Iterator[Tensor]:
    """Some patch tokens of every image that can be read, ``(n, D)`` on the CPU, evenly shared out."""
    share = MOST_TOKENS // len(samples)
    for batch in read_batches([sample.path for sample in samples], size, BATCH, workers):
        if batch.paths:
            pixels = torch.from_numpy(batch.images).to(clip.mean.device).permute(0, 3, 1, 2).float() / 255
            for tokens in clip(clip.normalise(pixels)).float().cpu():
                yield tokens[torch.randperm(len(tokens), generator=generator)[:share]]
        on_batch()


def _k_means(points: Tensor, count: int, generator: Generator, on_round: Callable[[], None]) -> Tensor:
    """Lloyd's k-means: ``count`` centres ``(K, D)`` of points ``(N, D)``. A centre that loses all its points stays."""
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cat([_squared(rows, centres).argmin(1) for rows in torch.split(points, _ROWS)])
        members = torch.bincount(nearest, minlength=count)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(members > 0, sums / members.clamp_min(1), centres)
        on_round()
    return centres


def _in_steps(centres: Tensor) -> Tensor:
    """Centres in 8 bits; beyond 8 deviations they are cut off."""
    return (centres * STEPS).round().clamp(-127, 127).to(torch.int8)


def _squared(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``(..., K)`` of points ``(..., D)`` to centres ``(K, D)``, below 0 at most by rounding."""
    squared: Tensor = points.square().sum(-1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(-1)
    return squared
