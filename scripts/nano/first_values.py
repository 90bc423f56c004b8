"""Initial weights that measure texture, which shortens the training of a small vision tower.

Patch filters are pairs of Gabor filters and low-frequency cosines; positions are sines in separate channels. The first
block turns the signed responses of each pair, which change with every pixel of shift, into their magnitude, which does
not. The second adds the mean over nearby patches. Further attention is initialized to attend to similar and nearby
tokens (Trockman and Kolter, "Mimetic initialization of self-attention layers", ICML 2023).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

from nano.spectra import windowed_waves

GABORS = ((0, 3.2, 8), (0, 4.6, 8), (0, 7.0, 8), (0, 12.0, 4), (1, 4.0, 2), (2, 4.0, 2))
"""Channel of ``OPPONENTS``, wave length in pixels and number of orientations."""

OPPONENTS = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (0.5, 0.5, -1.0))
"""Brightness and two opponent colors."""

COSINES = (18, 5, 5)
"""Number of lowest-frequency cosines of each of ``OPPONENTS``."""

PAIRED = 2 * sum(turns for *_, turns in GABORS)
"""Number of channels of the first tokens with Gabor filters, even and odd in turn."""

PLACE = 32
"""Number of channels, the last ones, with positions."""

RATES = (1.0, 0.62, 0.38, 0.22, 0.12, 0.06, 0.03, 0.015)
"""Frequencies of the position sines, in radians per patch."""

SHARP = 2.0
"""Steepness of the first block's units: the magnitude of ``x`` is ``x tanh(0.85 SHARP x)``."""

NEARNESS = 0.8
"""Sharpness of the second block's attention to nearby patches."""

FAINT, WEAK = 0.05, 0.2
"""Share of the usual initial values that remains where others are written over them."""


def set_first_values(vision: Any, generator: Generator) -> None:
    """Overwrite the patch filters, positions and blocks of an untrained ``CLIPVisionModel``."""
    config, embeddings = vision.config, vision.embeddings
    width, heads = config.hidden_size, config.num_attention_heads
    filters = torch.cat((gabor_filters(config.patch_size), cosine_filters(config.patch_size)))
    with torch.no_grad():
        embeddings.patch_embedding.weight.zero_()[: len(filters)] = filters
        embeddings.position_embedding.weight.zero_()[1:, -PLACE:] = position_sines(
            config.image_size // config.patch_size
        )
        embeddings.class_embedding.zero_()[len(filters) : width - PLACE] = 2.0
        for block in vision.encoder.layers:
            attention = block.self_attn
            queries, keys = _query_key(width, heads, generator)
            attention.q_proj.weight.copy_(queries)
            attention.k_proj.weight.copy_(keys)
            left, size, right = torch.linalg.svd(0.4 * _normal(width, generator) - 0.4 * torch.eye(width))
            attention.out_proj.weight.copy_(left * size.sqrt())
            attention.v_proj.weight.copy_(size.sqrt()[:, None] * right)
        first, second = vision.encoder.layers[:2]
        first.self_attn.out_proj.weight.mul_(FAINT)
        _measure_sizes(first.mlp, len(filters))
        _average_nearby(second.self_attn, heads)
        second.mlp.fc2.weight.mul_(FAINT)


def set_first_words(text: Any, generator: Generator) -> None:
    """Overwrite word vectors and attention values of an untrained ``CLIPTextModel``, to separate texts from the start.

    The last position starts as the mean of the words before it: every text is encoded as its bag of words.
    """
    table = text.embeddings.token_embedding.weight
    identity = torch.eye(table.shape[1])
    with torch.no_grad():
        table.copy_(0.5 * torch.randn(table.shape, generator=generator))
        for block in text.encoder.layers:
            block.self_attn.v_proj.weight.copy_(identity + 0.1 * _normal(len(identity), generator))
            block.self_attn.out_proj.weight.copy_(identity + 0.1 * _normal(len(identity), generator))


def gabor_filters(patch: int) -> Tensor:
    """Return even and odd Gabor filters in turn, centered in the patch, with mean 0: ``(PAIRED, 3, patch, patch)``."""
    filters = []
    for channel, wave, turns in GABORS:
        window, planes = windowed_waves(patch, wave, turns, min(0.6 * wave, 0.35 * patch))
        for plane in planes:
            level = window * (plane - (window * plane).sum() / window.sum())
            filters.append(_tint(channel) * level / level.norm() * (1 + 2 * patch / wave) / patch)
    return torch.stack(filters)


def cosine_filters(patch: int) -> Tensor:
    """Return the lowest-frequency cosine filters, ``COSINES`` of each of ``OPPONENTS``.

    Returns:
        ``(sum(COSINES), 3, patch, patch)``, scaled so that images whose spectrum falls as ``1 / f`` give equal
        variances.
    """
    place = (torch.arange(patch) + 0.5) / patch
    waves = torch.cos(math.pi * torch.arange(patch)[:, None] * place) * (2 / patch) ** 0.5
    waves[0] /= 2**0.5
    planes = torch.einsum("uy,vx->uvyx", waves, waves).flatten(0, 1)
    frequency = (torch.arange(patch)[:, None] ** 2 + torch.arange(patch) ** 2).float().sqrt().flatten()
    planes = (planes * (1 + frequency)[:, None, None] / patch)[frequency.argsort(stable=True)]
    return torch.cat([planes[:count, None] * _tint(channel) for channel, count in enumerate(COSINES)])


def position_sines(side: int) -> Tensor:
    """Return sines and cosines of row and column, ``(side * side, PLACE)``."""
    waves = torch.arange(side)[:, None] * torch.tensor(RATES)
    axis = torch.cat((waves.sin(), waves.cos()), 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat((rows, columns), 2).flatten(0, 1)


def _tint(channel: int) -> Tensor:
    """Return one of ``OPPONENTS`` at unit length, ``(3, 1, 1)``."""
    tint = torch.tensor(OPPONENTS[channel])
    unit: Tensor = tint / tint.norm()
    return unit[:, None, None]


def _measure_sizes(mlp: Any, filters: int) -> None:
    """Replace signed responses by their magnitudes: of a Gabor pair in the even channel; the odd one becomes free.

    ``quick_gelu(x) - quick_gelu(-x) = x`` removes a response, ``quick_gelu(x) + quick_gelu(-x)`` is its magnitude. Mean
    brightness and colors stay unchanged.
    """
    width = mlp.fc1.in_features
    first, second = mlp.fc1.weight, mlp.fc2.weight
    first[:width] = SHARP * torch.eye(width)
    first[width : 2 * width] = -SHARP * torch.eye(width)
    second.mul_(FAINT)[:, : 2 * width] = 0
    starts = [PAIRED + sum(COSINES[:channel]) for channel in range(len(COSINES))]
    for channel in range(filters):
        if channel in starts:
            continue
        up, down = channel, width + channel
        second[channel, up] -= 1 / SHARP
        second[channel, down] += 1 / SHARP
        paired = channel < PAIRED
        size = channel - channel % 2 if paired else channel
        second[size, up] += (0.7 if paired else 1) / SHARP
        second[size, down] += (0.7 if paired else 1) / SHARP


def _average_nearby(attention: Any, heads: int) -> None:
    """Let every head attend to nearby patches and write the mean of its share of the pairs' magnitudes beside them."""
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        part.weight.mul_(WEAK)
    width = attention.q_proj.in_features
    rank = width // heads
    pairs = PAIRED // 2 // heads
    for head in range(heads):
        places = torch.eye(width)[-PLACE:] * NEARNESS**0.5
        rows = slice(head * rank, head * rank + PLACE)
        attention.q_proj.weight[rows] += places
        attention.k_proj.weight[rows] += places
        for number in range(pairs):
            pair = 2 * (head * pairs + number)
            attention.v_proj.weight[head * rank + number, pair] += 1
            attention.out_proj.weight[pair + 1, head * rank + number] += 1


def _query_key(width: int, heads: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return query and key matrices whose product, for each head, is nearly a multiple of the identity plus noise."""
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
