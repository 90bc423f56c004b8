"""A trained model folded into one small graph: no text tower, no projection, no unused block.

Folding moves constants into weights, so that the graph computes the same maps with fewer FLOPs. The prompt does not
depend on the image, so the text tower becomes the constant ``t_hat``. The logits of a pass (equation 3, ``S = V t_hat``
with ``V = F W + b``) are linear in the tokens ``F``, so projection and prompt become one vector and one number per
pass: ``S = F (W t_hat) + b . t_hat``. The scales and shifts of LayerNorms go into the linear layers after them, and the
scale of attention into the queries.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.engines.passes import GraphShape
from clipada.models.clip_ada import ClipAda, CosineSimilarity
from clipada.models.memory import Prototypes


class FoldedPass(nn.Module):
    """One pass over a batch of images, read by the heads of all passes.

    Every pass runs the same vision tower over ``X * gain`` and differs only in ``gain`` (1 in the coarse pass; ``A`` or
    ``1 + A`` in a refinement) and in its head. So one graph computes them all and stores the weights once; the caller
    reads the row of the pass's own head. Not every token needs to be a query: the others contribute the keys and values
    of an earlier pass, the KV cache.

    Shapes: ``B`` images of ``S x S`` pixels, token grid ``h x w``, ``K`` query tokens, ``M`` tokens in the KV cache,
    ``L`` blocks of width ``D``, ``P = R + 1`` passes. Names of attributes are names of weights in the graph's file.

    Args:
        model: A trained model. It is not changed; unchanged parts are shared.
        dtype: Arithmetic of the vision tower. Pixels and heads stay in float32.
    """

    scale: Tensor
    shift: Tensor
    positions: Tensor
    rows: Tensor

    def __init__(self, model: ClipAda, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        clip, self.shape = model.clip, graph_shape(model)
        side, grid = self.shape.image_size, self.shape.grid
        vision: Any = clip.vision if dtype == torch.float32 else deepcopy(clip.vision)
        self.pixel_space = model.config.attention_space == "pixel"
        whole = grid[0] * clip.patch_size
        self.whole = whole == side
        self.register_buffer("scale", 1 / (255 * clip.std))
        self.register_buffer("shift", -clip.mean / clip.std)
        self.register_buffer("rows", _resize_matrix(side, whole))
        self.register_buffer("positions", _positions(clip.vision.embeddings, whole).to(dtype))
        self.patches: nn.Module = vision.embeddings.patch_embedding.to(dtype)
        self.norm: nn.Module = vision.pre_layrnorm.to(dtype)
        self.blocks = nn.ModuleList(FoldedBlock(layer) for layer in vision.encoder.layers).to(dtype)
        self.heads = FoldedHeads(model)

    def forward(
        self, images: Tensor, gain: Tensor, tokens: Tensor, kv_cache: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the maps of all heads at the query tokens; ``engines.passes.PassInput`` describes the arguments.

        Args:
            images: RGB, ``(B, S, S, 3)`` uint8.
            gain: Factor of each pixel, ``(B, S, S)``.
            tokens: Indices of the query tokens, ``(B, K)``.
            kv_cache: Keys and values of each block in turn, ``(2 L, B, M, D)``.
            bias: Added to attention scores, ``(B, M + K)``.

        Returns:
            maps: ``(B, P, K)``, values 0..1; with prototypes ``(B, P + 1, K)``, the last row the memory offset of the
                maps' logits.
            kv_cache: The query tokens' own keys and values, ``(2 L, B, K, D)``.
        """
        pixels, gain = images.permute(0, 3, 1, 2).float(), gain.unsqueeze(1)
        if self.pixel_space:
            inputs = pixels * gain * self.scale + self.shift
        else:
            inputs = (pixels * self.scale + self.shift) * gain
        if not self.whole:
            inputs = self.rows @ inputs @ self.rows.T
        dtype = self.positions.dtype
        hidden = self.patches(inputs.to(dtype)).flatten(2).transpose(1, 2)
        hidden = self.norm(F.pad(hidden, (0, 0, 1, 0)) + self.positions)
        hidden = hidden.gather(1, tokens.unsqueeze(2).expand(-1, -1, hidden.shape[2]))
        own_cache: list[Tensor] = []
        score_bias, cached = bias[:, None, None].to(dtype), kv_cache.to(dtype).unbind(0)
        for block, *pair in zip(self.blocks, cached[::2], cached[1::2], strict=True):
            hidden, *own = block(hidden, *pair, score_bias)
            own_cache += own
        return self.heads(hidden.float()).transpose(1, 2), torch.stack(own_cache).float()


class FoldedBlock(nn.Module):
    """A vision block with the queries' scale and the norms' scales and shifts folded into its weights.

    Queries, keys and values are three matrix products, because runtimes would copy the parts of a single one.

    Args:
        layer: The `transformers` block.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads: int = attention.num_heads
        self.norm1, self.norm2 = _plain(layer.layer_norm1), _plain(layer.layer_norm2)
        self.query = _after(layer.layer_norm1, attention.q_proj, attention.head_dim**-0.5)
        self.key = _after(layer.layer_norm1, attention.k_proj)
        self.value = _after(layer.layer_norm1, attention.v_proj)
        self.out: nn.Module = attention.out_proj
        self.mlp = nn.Sequential(_after(layer.layer_norm2, mlp.fc1), mlp.activation_fn, mlp.fc2)

    def forward(
        self, tokens: Tensor, cached_keys: Tensor, cached_values: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the block's output for its query tokens, which attend to the KV cache and to one another.

        Args:
            tokens: ``(B, K, D)``.
            cached_keys: Keys of other tokens, ``(B, M, D)``.
            cached_values: Values of the same tokens, ``(B, M, D)``.
            bias: Added to attention scores, ``(B, 1, 1, M + K)``.

        Returns:
            The tokens ``(B, K, D)``, and their own keys and values of the same shape.
        """
        normal = self.norm1(tokens)
        query, own_keys, own_values = self.query(normal), self.key(normal), self.value(normal)
        parts = query, torch.cat((cached_keys, own_keys), dim=1), torch.cat((cached_values, own_values), dim=1)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = (query @ key.transpose(-1, -2) + bias).softmax(dim=-1) @ value
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens)), own_keys, own_values


class FoldedHeads(nn.Module):
    """The projection of every pass and the prompt, folded: ``S_i = F_i (W_i t_hat) + b_i . t_hat``.

    Cosine similarity divides by ``|V_i|``, which the folded vector no longer gives. With the QR decomposition
    ``[W_i b_i] = Q_i R_i``, ``Q_i`` is orthogonal and changes no length, so ``|V_i| = |R_i [F_i 1]|``: exact, and with
    no more rows than the projection had.

    Args:
        model: A trained model.
    """

    bias: Tensor

    def __init__(self, model: ClipAda) -> None:
        super().__init__()
        with torch.no_grad():
            text = model.text_vector().double()
            projections = [_affine(projection) for projection in model.projections]
            folded = torch.stack([text @ projection for projection in projections])
            self.cosine = isinstance(model.similarity, CosineSimilarity)
            bias = torch.zeros(())
            if isinstance(model.similarity, CosineSimilarity):
                folded *= model.similarity.log_scale.double().exp()
                bias = model.similarity.bias.detach().clone()
                factors = torch.stack([torch.linalg.qr(projection, mode="r").R for projection in projections])
                self.factors = _linear_of(factors.flatten(0, 1))
        self.passes = len(projections)
        self.register_buffer("bias", bias)
        self.vectors = _linear_of(folded)
        self.prototypes = None if model.memory is None else FoldedPrototypes(model.memory)
        self.prototype_weight = model.config.prototype_weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute maps ``(B, N, P)`` of tokens ``(B, N, D)``; with prototypes one more column, the memory offset."""
        maps = self._logits(tokens).sigmoid()
        if self.prototypes is None:
            return maps
        return torch.cat((maps, self.prototype_weight * self.prototypes(tokens).unsqueeze(2)), dim=2)

    def _logits(self, tokens: Tensor) -> Tensor:
        products: Tensor = self.vectors(tokens)
        if not self.cosine:
            return products
        values: Tensor = self.factors(tokens)
        lengths = values.reshape(*values.shape[:2], self.passes, -1).square().sum(-1).sqrt()
        logits: Tensor = products / lengths.clamp_min(1e-12) + self.bias
        return logits


class FoldedPrototypes(Prototypes):
    """Prototypes as the weights of a linear layer, where quantizers expect constants.

    ``min_k |F - C_k|^2 = |F|^2 + min_k (|C_k|^2 - 2 F . C_k)``.

    Args:
        prototypes: The prototypes of a trained model.
    """

    def __init__(self, prototypes: Prototypes) -> None:
        super().__init__(**prototypes.tensors())
        self.products = _linear(-2 * self.centres, self.centres.square().sum(1))

    def nearest_squared(self, scaled: Tensor) -> Tensor:
        """Compute the same as ``Prototypes``, to rounding."""
        squared: Tensor = scaled.square().sum(-1) + self.products(scaled).amin(-1)
        return squared


def graph_shape(model: ClipAda) -> GraphShape:
    """Determine the sizes of the graph that a model folds into."""
    side, vision = model.config.image_size, cast("Any", model.clip.vision)
    return GraphShape(
        image_size=side,
        grid=model.clip.grid((side, side)),
        blocks=len(vision.encoder.layers),
        width=model.clip.width,
        passes=len(model.projections),
        prototypes=model.memory is not None,
    )


def _affine(layer: Any) -> Tensor:
    """Join a linear layer's parameters to ``[W b]``, ``(E, D + 1)``, in float64."""
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).double()


def _linear_of(affine: Tensor) -> nn.Linear:
    """Make a linear layer from ``(K, D + 1)`` coefficients, the constant last."""
    return _linear(affine[:, :-1].float(), affine[:, -1].float())


def _plain(norm: Any) -> nn.LayerNorm:
    """Make the norm without its scale and shift."""
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def _after(norm: Any, layer: Any, factor: float = 1.0) -> nn.Linear:
    """Make ``factor`` times the layer, with the scale and shift of the preceding norm folded in."""
    return _linear(factor * layer.weight * norm.weight, factor * (layer.bias + layer.weight @ norm.bias))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = (nn.Parameter(part.detach(), requires_grad=False) for part in (weight, bias))
    return layer


def _positions(embeddings: Any, side: int) -> Tensor:
    """Compute the constant added to the tokens, ``(1, 1 + N, D)``: positions, and in row 0 also the class token."""
    with torch.no_grad():
        grid = (side // embeddings.patch_size) ** 2
        tokens = embeddings.class_embedding.new_zeros(1, 1 + grid, embeddings.embed_dim)
        positions: Tensor = tokens + embeddings.interpolate_pos_encoding(tokens, side, side)
        positions[:, 0] += embeddings.class_embedding
        return positions


def _resize_matrix(old: int, new: int) -> Tensor:
    """Build the matrix ``(new, old)`` of the antialiased bilinear resize of one axis, which is linear and separable."""
    identity = torch.eye(old)[None, None]
    return F.interpolate(identity, size=(new, old), mode="bilinear", align_corners=False, antialias=True)[0, 0]
