"""First values that save a small vision tower much of its training: what most trained ones come to look like.

Patch filters are cosines of rising frequency, positions are sines, and attention starts out looking at what is alike
and near (Trockman and Kolter, "Mimetic initialization of self-attention layers", ICML 2023).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

POSITION_SCALE = 0.5
"""Amplitude of the position sines beside patch features of about 1."""


def set_first_values(vision: Any, generator: Generator) -> None:
    """Overwrite the patch filters, positions and attention weights of an untrained ``CLIPVisionModel``."""
    config = vision.config
    width, heads = config.hidden_size, config.num_attention_heads
    side = config.image_size // config.patch_size
    with torch.no_grad():
        vision.embeddings.patch_embedding.weight.copy_(cosine_filters(width, config.patch_size))
        vision.embeddings.position_embedding.weight[1:] = POSITION_SCALE * position_sines(side, width)
        for block in vision.encoder.layers:
            attention = block.self_attn
            queries, keys = _query_key(width, heads, generator)
            attention.q_proj.weight.copy_(queries)
            attention.k_proj.weight.copy_(keys)
            left, size, right = torch.linalg.svd(0.4 * _normal(width, generator) - 0.4 * torch.eye(width))
            attention.out_proj.weight.copy_(left * size.sqrt())
            attention.v_proj.weight.copy_(size.sqrt()[:, None] * right)


def set_first_words(text: Any, generator: Generator) -> None:
    """Overwrite word vectors and attention values of an untrained ``CLIPTextModel``, so that texts start well apart.

    The last position starts as the mean of the words before it: every text is its bag of words.
    """
    table = text.embeddings.token_embedding.weight
    identity = torch.eye(table.shape[1])
    with torch.no_grad():
        table.copy_(0.5 * torch.randn(table.shape, generator=generator))
        for block in text.encoder.layers:
            block.self_attn.v_proj.weight.copy_(identity + 0.1 * _normal(len(identity), generator))
            block.self_attn.out_proj.weight.copy_(identity + 0.1 * _normal(len(identity), generator))


def cosine_filters(count: int, patch: int) -> Tensor:
    """The ``count`` lowest cosine filters, two thirds of brightness and a sixth of each opponent colour.

    Returns:
        ``(count, 3, patch, patch)``, scaled so that images whose spectrum falls as ``1 / f`` give equal variances.
    """
    place = (torch.arange(patch) + 0.5) / patch
    waves = torch.cos(math.pi * torch.arange(patch)[:, None] * place) * (2 / patch) ** 0.5
    waves[0] /= 2**0.5
    planes = torch.einsum("uy,vx->uvyx", waves, waves).flatten(0, 1)
    frequency = (torch.arange(patch)[:, None] ** 2 + torch.arange(patch) ** 2).float().sqrt().flatten()
    order = frequency.argsort(stable=True)
    planes = (planes * (1 + frequency)[:, None, None] / patch)[order]
    opponents = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    opponents = opponents / opponents.norm(dim=1, keepdim=True)
    colours = count // 6
    shares = (count - 2 * colours, colours, colours)
    parts = [planes[:share, None] * tint[:, None, None] for share, tint in zip(shares, opponents, strict=True)]
    return torch.cat(parts)


def position_sines(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column, ``(side * side, width)``."""
    rates = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    waves = torch.arange(side)[:, None] * rates
    axis = torch.cat((waves.sin(), waves.cos()), 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat((rows, columns), 2).flatten(0, 1)


def _query_key(width: int, heads: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Query and key matrices whose product, for each head, is near a multiple of the identity plus noise."""
    queries, keys = [], []
    for _ in range(heads):
        left, size, right = torch.linalg.svd(0.7 * _normal(width, generator) + 0.7 * torch.eye(width))
        rank = width // heads
        queries.append((left * size.sqrt())[:, :rank].T)
        keys.append(size.sqrt()[:rank, None] * right[:rank])
    return torch.cat(queries), torch.cat(keys)


def _normal(width: int, generator: Generator) -> Tensor:
    scaled: Tensor = torch.randn(width, width, generator=generator) / width**0.5
    return scaled
