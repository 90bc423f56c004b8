"""A memory bank of normal patch tokens: PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265) on CLIP's tokens."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.config import BackboneConfig, MemoryBankConfig
from clipada.data import Dataset
from clipada.devices import find_device
from clipada.models.backbones import FrozenClip, load_clip
from clipada.models.clip_ada import upsample
from clipada.randomness import derived_generator
from clipada.research.baselines.coreset import greedy_coreset, nearest_neighbours, project
from clipada.research.baselines.engine import BaselineEngine, Detector, Findings, to_unit
from clipada.research.baselines.fitting import FitProgress, Report, image_batches, unreported


class MemoryBank(Detector):
    """Scores a token by its distance to the nearest token that normal images have.

    Args:
        clip: The frozen backbone.
        bank: ``(M, D)``: the core-set of normal tokens.
        config: All settings.
    """

    bank: Tensor
    knee: Tensor

    def __init__(self, clip: FrozenClip, bank: Tensor, config: MemoryBankConfig) -> None:
        super().__init__()
        self.clip = clip
        self.config = config
        self.register_buffer("bank", bank)
        self.register_buffer("knee", _largest_distance(bank))

    def forward(self, images: Tensor) -> Findings:
        """Distances to the bank; as image score the largest one, re-weighted (equations 6 and 7).

        Both come to 0..1 by ``to_unit``, whose knee is an upper bound of the distance between any two tokens of the
        bank.
        """
        tokens = local_tokens(self.clip, images, self.config.neighbourhood)
        distances, positions = (part.view(tokens.shape[:3]) for part in self.nearest(tokens))
        worst = distances.flatten(1).argmax(dim=1, keepdim=True)
        scores = reweighted(
            tokens.flatten(1, 2)[torch.arange(len(images), device=images.device), worst[:, 0]],
            positions.flatten(1).gather(1, worst)[:, 0],
            self.bank,
            self.config.reweighting,
        )
        maps = upsample(distances, images.shape[-2:])
        return Findings(to_unit(maps, self.knee), to_unit(scores, self.knee))

    def nearest(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``nearest_neighbours`` of tokens ``(B, h, w, D)``: two of shape ``(B h w,)``."""
        return nearest_neighbours(tokens.flatten(0, 2), self.bank)


def local_tokens(clip: FrozenClip, images: Tensor, side: int) -> Tensor:
    """Patch tokens, each the mean of those around it (section 3.1 of PatchCore).

    Args:
        clip: The frozen backbone.
        images: ``(B, 3, H, W)``, values 0..1.
        side: Of the square that is averaged, in tokens; at the image's edge, of what there is of it.

    Returns:
        ``(B, h, w, D)``.
    """
    grid = clip.grid(images.shape[-2:])
    tokens = clip(clip.normalise(images)).unflatten(1, grid).permute(0, 3, 1, 2)
    return F.avg_pool2d(tokens, side, stride=1, padding=side // 2, count_include_pad=False).permute(0, 2, 3, 1)


def reweighted(worst: Tensor, positions: Tensor, bank: Tensor, neighbours: int) -> Tensor:
    """PatchCore's image score: less, where the nearest bank token is one of many as near (equation 7).

    ``s = (1 - exp|q - m| / sum_n exp|q - n|) |q - m|``, ``n`` over the neighbours of ``m`` in the bank, ``m`` among
    them.

    Args:
        worst: ``q``, ``(B, D)``: each image's token farthest from the bank.
        positions: ``(B,)``: of ``m``, the bank token nearest to it.
        bank: ``(M, D)``.
        neighbours: b, how many neighbours; all if the bank has fewer.

    Returns:
        ``(B,)``, 0 or more.
    """
    nearest = bank[positions]
    around = torch.cdist(nearest, bank).topk(min(neighbours, len(bank)), largest=False).indices
    distance = (worst - nearest).norm(dim=1)
    to_neighbours = (worst.unsqueeze(1) - bank[around]).norm(dim=2)
    weight = 1 - (distance - to_neighbours.logsumexp(dim=1)).exp()
    return torch.mul(weight.clamp(min=0), distance)


def fit_memory_bank(
    dataset: Dataset,
    backbone: BackboneConfig,
    image_size: int,
    /,
    *,
    settings: MemoryBankConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    report: Report = unreported,
    checkpoints: Path | None = None,  # noqa: ARG001
) -> BaselineEngine:
    """Fill one bank with tokens of all categories and keep its core-set; see ``Fit`` for the arguments.

    Raises:
        DatasetError: There is no training image, or none can be read.
        BackboneError: The backbone cannot be loaded.
    """
    dataset.require_training()
    config = MemoryBankConfig() if settings is None else settings
    place = find_device(device)
    clip = load_clip(backbone).to(place)
    quota = max(1, config.candidates // len(dataset.train))
    order = derived_generator(seed, "memory bank", "candidates")
    with torch.inference_mode():
        candidates = torch.cat(
            [
                _some(local_tokens(clip, images, config.neighbourhood), quota, order)
                for images in image_batches(dataset.train, image_size, place, workers, report)
            ]
        )
        count = min(len(candidates), max(config.reweighting, round(config.share * len(candidates))))
        generator = derived_generator(seed, "memory bank", "core-set")
        if count < len(candidates):
            kept = greedy_coreset(project(candidates, config.projection, generator), count, generator)
            candidates = candidates[kept]
    report(FitProgress(stage="core-set", done=count, total=count))
    return BaselineEngine(MemoryBank(clip, candidates, config), image_size, place)


def _some(tokens: Tensor, quota: int, generator: Generator) -> Tensor:
    """At most ``quota`` tokens of each image, ``(B, h, w, D)`` to ``(B min(quota, h w), D)``."""
    flat = tokens.flatten(1, 2)
    chosen = [torch.randperm(flat.shape[1], generator=generator)[:quota].to(flat.device) for _ in flat]
    return torch.cat([image[places] for image, places in zip(flat, chosen, strict=True)])


def _largest_distance(bank: Tensor) -> Tensor:
    """An upper bound of the distance between two bank tokens: twice the largest one to their mean."""
    largest = (bank - bank.mean(dim=0)).norm(dim=1).max()
    return torch.clamp(2 * largest, min=torch.finfo().tiny)
