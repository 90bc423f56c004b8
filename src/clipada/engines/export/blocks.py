"""A transformer block folded for an export: scales and shifts of its norms, and layer scales, in its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clipada.models.backbones import BlockParts


class FoldedBlock(nn.Module):
    """A vision block with the queries' scale, the norms' scales and shifts and the layer scales in its weights.

    Queries, keys and values are three matrix products, because runtimes would copy the parts of a single one.

    Args:
        parts: The parts of a block of `transformers`.
    """

    def __init__(self, parts: BlockParts) -> None:
        super().__init__()
        self.heads = parts.heads
        head_width = parts.query.out_features // parts.heads
        self.norm1, self.norm2 = _plain(parts.norm1), _plain(parts.norm2)
        self.query = _after(parts.norm1, parts.query, head_width**-0.5)
        self.key = _after(parts.norm1, parts.key)
        self.value = _after(parts.norm1, parts.value)
        self.out: nn.Module = _scaled(parts.out, parts.scale1)
        up, down = _after(parts.norm2, parts.up), _scaled(parts.down, parts.scale2)
        gate = None if parts.gate is None else _after(parts.norm2, parts.gate)
        self.mlp = (
            nn.Sequential(up, parts.activation, down) if gate is None else _Gated(gate, parts.activation, up, down)
        )

    def forward(
        self,
        tokens: Tensor,
        cached_keys: Tensor | None = None,
        cached_values: Tensor | None = None,
        bias: Tensor | None = None,
        turn: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the block's output for its query tokens, which attend to the KV cache, if any, and to one another.

        Args:
            tokens: ``(B, K, D)``.
            cached_keys: Keys of other tokens, ``(B, M, D)``, with their rotary positions.
            cached_values: Values of the same tokens, ``(B, M, D)``.
            bias: Added to attention scores, ``(B, 1, 1, M + K)``.
            turn: Rotary positions of the query tokens, if the family has them.

        Returns:
            The tokens ``(B, K, D)``, and their own keys and values of the same shape.
        """
        normal = self.norm1(tokens)
        own_queries, own_keys, own_values = self.query(normal), self.key(normal), self.value(normal)
        if turn is not None:
            own_queries, own_keys = (self._turned(part, *turn) for part in (own_queries, own_keys))
        keys = own_keys if cached_keys is None else torch.cat((cached_keys, own_keys), dim=1)
        values = own_values if cached_values is None else torch.cat((cached_values, own_values), dim=1)
        parts = (own_queries, keys, values)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = query @ key.transpose(-1, -2)
        attended = (scores if bias is None else scores + bias).softmax(dim=-1) @ value
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens)), own_keys, own_values

    def _turned(self, part: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Apply rotary positions to queries or keys ``(B, K, D)``."""
        heads = part.reshape(*part.shape[:2], self.heads, part.shape[2] // self.heads).transpose(1, 2)
        first, second = heads.chunk(2, dim=-1)
        turned = heads * cosine + torch.cat((-second, first), dim=-1) * sine
        merged: Tensor = turned.transpose(1, 2).flatten(2)
        return merged


class _Gated(nn.Module):
    """A gated MLP: ``down(activation(gate(x)) * up(x))``."""

    def __init__(self, gate: nn.Module, activation: nn.Module, up: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.gate, self.activation, self.up, self.down = gate, activation, up, down

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute ``(B, K, D)`` of tokens of the same shape."""
        mixed: Tensor = self.down(self.activation(self.gate(tokens)) * self.up(tokens))
        return mixed


def _plain(norm: Any) -> nn.LayerNorm:
    """Make the norm without its scale and shift."""
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def _after(norm: Any, layer: Any, factor: float = 1.0) -> nn.Linear:
    """Make ``factor`` times the layer, with the scale and shift of the preceding norm folded in."""
    shift = layer.weight @ norm.bias
    return linear_layer(
        factor * layer.weight * norm.weight, factor * (shift if layer.bias is None else layer.bias + shift)
    )


def _scaled(layer: nn.Linear, scale: Tensor | None) -> nn.Linear:
    """Make the layer with its outputs ``(D,)`` scaled; the same layer without a scale."""
    if scale is None and layer.bias is not None:
        return layer
    scale = layer.weight.new_ones(len(layer.weight)) if scale is None else scale
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return linear_layer(scale[:, None] * layer.weight, scale * bias)


def linear_layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Make a linear layer of given weights, which are not trained."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = (nn.Parameter(part.detach(), requires_grad=False) for part in (weight, bias))
    return layer
