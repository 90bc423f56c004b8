"""A memory bank of normal patch tokens: PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.config import MemoryBankConfig
from clipada.models.backbones import Backbone, load_backbone
from clipada.models.clip_ada import upsample
from clipada.models.coreset import greedy_coreset, nearest_neighbors, project
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput, to_unit
from clipada.research.baselines.fitting import FitContext, image_batches
from clipada.types import Progress


class MemoryBank(Detector):
    """Detector that scores a token by its distance to the nearest token of normal images.

    Args:
        clip: The frozen backbone.
        bank: ``(M, D)``: the core-set of normal tokens.
        config: All settings.
    """

    bank: Tensor
    knee: Tensor

    def __init__(self, clip: Backbone, bank: Tensor, config: MemoryBankConfig) -> None:
        super().__init__()
        self.clip = clip
        self.config = config
        self.register_buffer("bank", bank)
        self.register_buffer("knee", _largest_distance(bank))

    def forward(self, images: Tensor) -> DetectorOutput:
        """Return the distances to the bank, and as image score the largest one, re-weighted (equations 6 and 7).

        Both are mapped to 0..1 by ``to_unit``, whose knee is an upper bound of the distance between any two tokens of
        the bank.
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
        return DetectorOutput(to_unit(maps, self.knee), to_unit(scores, self.knee))

    def nearest(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``nearest_neighbors`` of tokens ``(B, h, w, D)``: distances and positions, ``(B h w,)`` each."""
        return nearest_neighbors(tokens.flatten(0, 2), self.bank)


def local_tokens(clip: Backbone, images: Tensor, side: int) -> Tensor:
    """Compute patch tokens, each averaged over its neighborhood (section 3.1 of PatchCore).

    Args:
        clip: The frozen backbone.
        images: ``(B, 3, H, W)``, values 0..1.
        side: Side of the square to average over, in tokens; at the image's edge only the part inside counts.

    Returns:
        ``(B, h, w, D)``.
    """
    grid = clip.grid(images.shape[-2:])
    tokens = clip(clip.normalize(images)).unflatten(1, grid).permute(0, 3, 1, 2)
    return F.avg_pool2d(tokens, side, stride=1, padding=side // 2, count_include_pad=False).permute(0, 2, 3, 1)


def reweighted(worst: Tensor, positions: Tensor, bank: Tensor, neighbors: int) -> Tensor:
    """Compute PatchCore's image score, lower where the nearest bank token has many close neighbors (equation 7).

    ``s = (1 - exp|q - m| / sum_n exp|q - n|) |q - m|``, ``n`` over the neighbors of ``m`` in the bank,
    including ``m``.

    Args:
        worst: ``q``, ``(B, D)``: the token of each image that is farthest from the bank.
        positions: ``(B,)``: position of ``m``, the bank token nearest to ``q``.
        bank: ``(M, D)``.
        neighbors: b, the number of neighbors; all tokens if the bank has fewer.

    Returns:
        ``(B,)``, 0 or more.
    """
    nearest = bank[positions]
    around = torch.cdist(nearest, bank).topk(min(neighbors, len(bank)), largest=False).indices
    distance = (worst - nearest).norm(dim=1)
    to_neighbors = (worst.unsqueeze(1) - bank[around]).norm(dim=2)
    weight = 1 - (distance - to_neighbors.logsumexp(dim=1)).exp()
    return torch.mul(weight.clamp(min=0), distance)


def fit_memory_bank(context: FitContext, /, settings: MemoryBankConfig) -> BaselineEngine:
    """Fill one bank with tokens of all categories and keep its core-set.

    Raises:
        DatasetError: There is no training image, or none can be read.
        BackboneError: The backbone cannot be loaded.
    """
    context.dataset.require_training()
    device = context.torch_device
    clip = load_backbone(context.backbone).to(device)
    quota = max(1, settings.candidates // len(context.dataset.train))
    order = derived_generator(context.seed, "memory bank", "candidates")
    with torch.inference_mode():
        candidates = torch.cat(
            [
                _subset(local_tokens(clip, images, settings.neighbourhood), quota, order)
                for images in image_batches(context)
            ]
        )
        count = min(len(candidates), max(settings.reweighting, round(settings.share * len(candidates))))
        generator = derived_generator(context.seed, "memory bank", "core-set")
        if count < len(candidates):
            kept = greedy_coreset(project(candidates, settings.projection, generator), count, generator)
            candidates = candidates[kept]
    context.report(Progress(stage="core-set", done=count, total=count))
    return BaselineEngine(MemoryBank(clip, candidates, settings), context.image_size, device)


def _subset(tokens: Tensor, quota: int, generator: Generator) -> Tensor:
    """Draw at most ``quota`` tokens of each image, ``(B, h, w, D)`` to ``(B min(quota, h w), D)``."""
    flat = tokens.flatten(1, 2)
    chosen = [torch.randperm(flat.shape[1], generator=generator)[:quota].to(flat.device) for _ in flat]
    return torch.cat([image[places] for image, places in zip(flat, chosen, strict=True)])


def _largest_distance(bank: Tensor) -> Tensor:
    """Return an upper bound of the distance between two bank tokens: twice the largest distance to their mean."""
    largest = (bank - bank.mean(dim=0)).norm(dim=1).max()
    return torch.clamp(2 * largest, min=torch.finfo().tiny)
