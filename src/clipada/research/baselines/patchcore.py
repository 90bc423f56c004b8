"""PatchCore for each product, on the tokens and with as many rows as a run has: what a memory gives without more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from clipada.config import MemoryBankConfig, PatchcoreConfig
from clipada.models.backbones import Backbone, load_backbone
from clipada.models.coreset import greedy_coreset, project
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine
from clipada.research.baselines.fitting import FitContext, image_batches, require_one_product
from clipada.research.baselines.memory_bank import MemoryBank, local_tokens
from clipada.types import Progress


def fit_patchcore(context: FitContext, /, settings: PatchcoreConfig) -> BaselineEngine:
    """Choose the greedy core-set of all tokens of one product's training images.

    Tokens of each block that is read have the same length, so that blocks of different magnitude count alike.

    Raises:
        DatasetError: There is no training image, none can be read, or there are several products.
        BackboneError: The backbone cannot be loaded.
    """
    require_one_product(context.dataset)
    device = context.torch_device
    backbone = load_backbone(replace(context.backbone, tokens="unit")).to(device)
    with torch.inference_mode():
        tokens, projected = (torch.cat(parts) for parts in zip(*_read(backbone, context, settings), strict=True))
        count = min(len(tokens), settings.rows)
        kept = greedy_coreset(projected.to(device), count, derived_generator(context.seed, "patchcore", "core-set"))
        bank = tokens[kept.cpu()].float()
    context.report(Progress(stage="core-set", done=count, total=count))
    scored = MemoryBankConfig(neighbourhood=settings.neighborhood, reweighting=settings.reweighting)
    return BaselineEngine(MemoryBank(backbone, bank, scored), context.image_size, device, sigma=settings.sigma)


def _read(backbone: Backbone, context: FitContext, settings: PatchcoreConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the tokens of each batch, ``(N, D)`` float16 on the CPU, and their projections ``(N, P)`` float32."""
    for images in image_batches(context):
        tokens = local_tokens(backbone, images, settings.neighborhood).flatten(0, 2)
        same = derived_generator(context.seed, "patchcore", "projection")  # the same projection for every batch
        yield tokens.half().cpu(), project(tokens, settings.projection, same).cpu()
