"""Memory of normal patches: prototypes whose distance measures how unfamiliar a patch is. Beyond the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count as count_from
from typing import Self

import torch
from torch import Generator, Tensor, nn

from clipada.config import BatchConfig
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.data import Batch, read_batches
from clipada.devices import to_tensor
from clipada.errors import DatasetError
from clipada.models.backbones import Backbone
from clipada.types import Progress, ProgressReport, Sample, unreported

MOST_TOKENS = 65_536
"""Largest number of patches that prototypes are found among, equally many of each image, which bounds the RAM."""

LEAST_MEMBERS = 16
"""Fewest patches for each prototype; with fewer, a small set of images would be memorized."""

ROUNDS = 10
"""Rounds of k-means."""

BATCH = 16
"""Images per forward pass."""

STEPS = 16
"""Quantization steps per standard deviation of a channel; prototypes are stored in 8 bits."""

_ROWS = 8192
"""Patches whose distances are computed at a time."""


class Prototypes(nn.Module):
    """Typical patches of normal images; a patch far from all of them is unfamiliar.

    ``u(F) = (min_k |F - C_k| - mean) / std``, with the mean and standard deviation of the distances of the normal
    patches that the prototypes were found among. Every channel is scaled to unit deviation first, because a few
    channels of large variance would dominate the distance. Shapes: ``K`` prototypes of width ``D``.

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
        """Measure how unfamiliar patches ``(B, N, D)`` are: ``u``, ``(B, N)``, in deviations of normal distances."""
        return (self.distances(tokens) - self.distance_mean) / self.distance_std

    def distances(self, tokens: Tensor) -> Tensor:
        """Compute the distance of patches ``(..., D)`` to the nearest prototype, ``(...)``, 0 or more."""
        scaled = (tokens - self.channel_mean) / self.channel_std
        with torch.autocast(tokens.device.type, enabled=False):  # differences of large squares
            nearest = self.nearest_squared(scaled.float())
        return nearest.clamp_min(0).sqrt()

    def nearest_squared(self, scaled: Tensor) -> Tensor:
        """Compute the squared distance of patches ``(..., D)``, at unit deviation, to the nearest prototype."""
        return _squared(scaled, self.centres).amin(-1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the constructor's arguments by name."""
        return {name: _in_steps(value) if name == "centres" else value for name, value in self.named_buffers()}

    @classmethod
    def found_among(
        cls, tokens: Tensor, count: int, generator: Generator, on_round: Callable[[], None] = lambda: None
    ) -> Self:
        """Find prototypes among normal patches by k-means.

        Args:
            tokens: ``(N, D)``.
            count: Number of prototypes; fewer if there are not ``LEAST_MEMBERS`` patches for each.
            generator: Draws the first centers, on the CPU.
            on_round: Called after each of the ``ROUNDS`` rounds.
        """
        mean, std = tokens.mean(0), tokens.std(0, correction=0).clamp_min(1e-6)
        most = max(1, min(count, len(tokens) // LEAST_MEMBERS))
        found = _k_means((tokens - mean) / std, most, generator, on_round)
        quantized = _in_steps(found)
        plain = cls(quantized, mean, std, torch.zeros(()), torch.ones(()))
        distances = torch.cat([plain(rows) for rows in torch.split(tokens, _ROWS)])
        return cls(quantized, mean, std, distances.mean(), distances.std(correction=0).clamp_min(1e-6))


@torch.inference_mode()
def find_prototypes(
    backbone: Backbone,
    samples: Sequence[Sample],
    count: int,
    size: tuple[int, int],
    generator: Generator,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    *,
    rules: ImageRules = DEFAULT_RULES,
) -> Prototypes:
    """Find prototypes among the patch tokens that the coarse pass reads from normal images.

    Args:
        backbone: Computes the tokens.
        samples: Normal images; at most ``MOST_TOKENS`` of their patches are used, drawn at random.
        count: Number of prototypes.
        size: Height and width that images are resized to, in pixels.
        generator: Source of all draws, on the CPU.
        workers: Threads that decode.
        report: Called after every batch of images and every round of k-means.
        rules: Rules by which the files are read.

    Raises:
        DatasetError: No image can be read.
    """
    chosen = samples[:: -(-len(samples) // MOST_TOKENS)]
    steps, total = count_from(1), -(-len(chosen) // BATCH) + ROUNDS

    def step() -> None:
        report(Progress(stage="finding prototypes", done=next(steps), total=total))

    batches = read_batches([sample.path for sample in chosen], size, BATCH, workers, rules=rules)
    found = list(_drawn_tokens(backbone, batches, MOST_TOKENS // len(chosen), generator, step))
    if not found:
        raise DatasetError("no normal image can be read to find prototypes in", remedy="check the files")
    prototypes = Prototypes.found_among(torch.cat(found), count, generator, step)
    return prototypes.to(backbone.mean.device)


def _drawn_tokens(
    backbone: Backbone,
    batches: Iterable[Batch],
    share: int,
    generator: Generator,
    on_batch: Callable[[], None],
) -> Iterator[Tensor]:
    """Yield ``share`` patch tokens of every readable image, ``(n, D)`` on the CPU."""
    for batch in batches:
        if batch.paths:
            pixels = to_tensor(batch.images, backbone.mean.device)
            for tokens in backbone(backbone.normalize(pixels)).float().cpu():
                yield tokens[torch.randperm(len(tokens), generator=generator)[:share]]
        on_batch()


def _k_means(points: Tensor, count: int, generator: Generator, on_round: Callable[[], None]) -> Tensor:
    """Run Lloyd's k-means: ``count`` centers ``(K, D)`` of points ``(N, D)``. A center without points stays."""
    centers = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cat([_squared(rows, centers).argmin(1) for rows in torch.split(points, _ROWS)])
        members = torch.bincount(nearest, minlength=count)[:, None]
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(members > 0, sums / members.clamp_min(1), centers)
        on_round()
    return centers


def _in_steps(centers: Tensor) -> Tensor:
    """Quantize centers to 8 bits; beyond 8 deviations they are cut off."""
    return (centers * STEPS).round().clamp(-127, 127).to(torch.int8)


def _squared(points: Tensor, centers: Tensor) -> Tensor:
    """Compute squared distances ``(..., K)`` of points ``(..., D)`` to centers ``(K, D)``, below 0 only by rounding."""
    squared: Tensor = points.square().sum(-1, keepdim=True) - 2 * points @ centers.T + centers.square().sum(-1)
    return squared
