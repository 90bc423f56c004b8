"""Training of the filter on a memory's answers: good parts, and parts with synthetic anomalies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.config import FilterConfig
from clipada.errors import RunError
from clipada.models.filter import Filter
from clipada.models.memory import Retrieval
from clipada.types import Progress, ProgressReport

STAGE = "training the filter"

_FOCUS = 2.0
"""Gamma of the focal loss (Lin et al., ICCV 2017)."""

_ANOMALOUS, _NORMAL = 0.75, 0.25
"""Weights of anomalous and normal cells in it."""

_FOCAL_WEIGHT, _DICE_WEIGHT = 10.0, 0.5

_GAIN, _FIELD, _NOISE = 0.3, 0.15, 0.08
"""Standard deviations, in every step, of the logarithm of a factor of all distances of an image, of a smooth field of
such factors, and of noise in the channels: distances in new images of good parts are a little larger or smaller."""

_DISTURBED_SHARE = 2 / 3
"""Share of disturbed images among the good ones of a step."""

_FIELD_CELLS = 3
"""Cells along each side of the smooth field."""

_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True, kw_only=True)
class ProductPool:
    """Images that the filter learns from, of one product.

    Attributes:
        anomalous: The memory's answers for ``n`` images with synthetic anomalies.
        logits: CLIP-ADA's logits of them, ``(n, N)``.
        masks: Their masks at the resolution of the filter's map, ``(n, 4 h, 4 w)`` bool.
        normal: The memory's answers for ``m`` good images, disturbed ones last.
        normal_logits: Their logits, ``(m, N)``.
        undisturbed: Number of good images that are as they were taken.
        ratio: Mean over standard deviation of normal distances in each block, ``(L,)``.
    """

    anomalous: Retrieval
    logits: Tensor
    masks: Tensor
    normal: Retrieval
    normal_logits: Tensor
    undisturbed: int
    ratio: Tensor


def fit_filter(
    filter_net: Filter,
    pools: Sequence[ProductPool],
    grid: tuple[int, int],
    config: FilterConfig,
    generator: Generator,
    report: ProgressReport,
) -> None:
    """Train a filter in place: all products in equal parts in every step.

    Args:
        filter_net: Filter with its first values.
        pools: One for each product.
        grid: Token grid ``(h, w)``.
        config: Steps, batch size and learning rate.
        generator: Source of all draws, on the CPU.
        report: Called after every step.

    Raises:
        RunError: The loss is not finite.
    """
    optimizer = torch.optim.AdamW(filter_net.parameters(), config.learning_rate, weight_decay=0.01)
    filter_net.train()
    for step, (channels, masks) in enumerate(_batches(filter_net, pools, grid, config, generator)):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * one_cycle(step / config.steps)
        loss = filter_loss(filter_net(channels, grid), masks)
        if not torch.isfinite(loss):
            remedy = "set a lower filter.learning_rate"
            raise RunError("the training of the filter diverged", got=f"loss {loss}", remedy=remedy)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        report(Progress(stage=STAGE, done=step + 1, total=config.steps, losses=(float(loss.detach()),)))
    filter_net.eval()


def filter_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Compute the focal loss of all cells plus the dice loss of images with an anomaly.

    Args:
        logits: ``(B, H, W)``.
        masks: ``(B, H, W)``, 0 or 1.
    """
    chances = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    wrong = torch.where(masks > 0, 1 - chances, chances)
    focal = (entropy * wrong.pow(_FOCUS) * (_NORMAL + (_ANOMALOUS - _NORMAL) * masks)).mean()
    shows = masks.amax(dim=(1, 2))
    both, all_cells = (chances * masks).sum(dim=(1, 2)), (chances + masks).sum(dim=(1, 2))
    dice = 1 - (2 * both + 1) / (all_cells + 1)
    return _FOCAL_WEIGHT * focal + _DICE_WEIGHT * (dice * shows).sum() / shows.sum().clamp_min(1)


def one_cycle(progress: float) -> float:
    """Return the share of the highest learning rate after a share of the steps: up, then down, along cosines."""
    if progress < _WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / _WARM_UP)) / 2
    return (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2


def _batches(
    filter_net: Filter,
    pools: Sequence[ProductPool],
    grid: tuple[int, int],
    config: FilterConfig,
    generator: Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield channels and masks of every step."""
    normal = round(config.normal_share * config.batch_size)
    for step in range(config.steps):
        channels, masks = [], []
        for number, pool in enumerate(pools):
            some = _drawn(len(pool.masks), config.batch_size - normal, len(pools), number + step, generator)
            good = _drawn_good(pool, normal, len(pools), number + step, generator)
            for found, logits, places in (
                (pool.anomalous, pool.logits, some),
                (pool.normal, pool.normal_logits, good),
            ):
                scaled = _with_other_distances(found, places, pool.ratio, grid, generator)
                channels.append(filter_net.channels(scaled, logits[places]))
            masks += [pool.masks[some].float(), torch.zeros(len(good), *pool.masks.shape[1:])]
        yield _moved(torch.cat(channels), torch.cat(masks), grid, generator)


def _drawn(images: int, count: int, products: int, turn: int, generator: Generator) -> Tensor:
    """Draw a product's part of ``count`` places; the rest of the division goes round."""
    share = count // products + (turn % products < count % products)
    return torch.randint(images, (share,), generator=generator)


def _drawn_good(pool: ProductPool, count: int, products: int, turn: int, generator: Generator) -> Tensor:
    """Draw a product's part of ``count`` good images, two of three disturbed."""
    images, first = len(pool.normal_logits), pool.undisturbed
    plain = _drawn(first, count, products, turn, generator)
    other = first + _drawn(images - first, count, products, turn, generator)
    return torch.where(torch.rand(len(plain), generator=generator) < _DISTURBED_SHARE, other, plain)


def _with_other_distances(
    found: Retrieval, places: Tensor, ratio: Tensor, grid: tuple[int, int], generator: Generator
) -> Retrieval:
    """Return the answers of some images, their distances times a factor that differs a little from place to place.

    ``(f d - mean) / std = f (d - mean) / std + (f - 1) mean / std``.
    """
    count = len(places)
    cells = torch.randn(count, 1, _FIELD_CELLS, _FIELD_CELLS, generator=generator)
    field = F.interpolate(cells, size=grid, mode="bicubic", align_corners=True).reshape(count, -1, 1)
    logarithm = _GAIN * torch.randn(count, 1, 1, generator=generator) + _FIELD * field
    factor = logarithm.exp().unsqueeze(3)
    surprise = found.surprise[places] * factor + (factor - 1) * ratio[None, None, :, None]
    return Retrieval(surprise, found.excess[places] + logarithm, found.products[places])


def _moved(channels: Tensor, masks: Tensor, grid: tuple[int, int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Turn and flip a batch on the token grid, and add noise to its channels."""
    square = grid[0] == grid[1]
    turns = int(torch.randint(4, (), generator=generator))
    flips = bool(torch.randint(2, (), generator=generator))

    def moved(fields: Tensor) -> Tensor:
        fields = torch.rot90(fields, turns if square else 2 * (turns % 2), (1, 2))
        return fields.flip(1) if flips else fields

    placed = moved(channels.reshape(len(channels), *grid, -1)).reshape(channels.shape)
    return placed + _NOISE * torch.randn(placed.shape, generator=generator), moved(masks)
