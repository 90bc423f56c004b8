"""A trained model folded into one small graph: no text tower, no projection, no unused block.

Folding moves constants into weights, so that the graph computes the same maps with fewer FLOPs. The prompt does not
depend on the image, so the text tower becomes the constant ``t_hat``. The logits of a pass (equation 3, ``S = V t_hat``
with ``V = F W + b``) are linear in the tokens ``F``, so projection and prompt become one vector and one number per
pass: ``S = F (W t_hat) + b . t_hat``. The scales and shifts of LayerNorms go into the linear layers after them, and the
scale of attention into the queries.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.engines.export.blocks import FoldedBlock, linear_layer
from clipada.engines.passes import GraphShape
from clipada.models.backbones import Backbone
from clipada.models.clip_ada import ClipAda, CosineSimilarity
from clipada.models.prototypes import Prototypes
from clipada.types import written_size


class FoldedPass(nn.Module):
    """One pass over a batch of images, read by the heads of all passes.

    Every pass runs the same vision tower over ``X * gain`` and differs only in ``gain`` (1 in the coarse pass; ``A`` or
    ``1 + A`` in a refinement) and in its head. So one graph computes them all and stores the weights once; the caller
    reads the row of the pass's own head. Not every token needs to be a query: the others contribute the keys and values
    of an earlier pass, the KV cache.

    Shapes: ``B`` images of ``H x W`` pixels, token grid ``h x w``, ``T`` tokens with those of the prefix, ``K`` query
    tokens, ``M`` tokens in the KV cache, ``L`` blocks of width ``D``, ``P = R + 1`` passes. Names of attributes are
    names of weights in the graph's file.

    Args:
        model: A trained model. It is not changed; unchanged parts are shared.
        dtype: Arithmetic of the vision tower. Pixels and heads stay in float32.
    """

    scale: Tensor
    shift: Tensor
    positions: Tensor
    rows: Tensor
    columns: Tensor
    patch_weights: Tensor
    cosine: Tensor
    sine: Tensor

    def __init__(self, model: ClipAda, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        backbone, self.shape = model.backbone, graph_shape(model)
        if dtype != torch.float32:
            backbone = deepcopy(backbone)
        size, grid = self.shape.size, self.shape.grid
        whole = (grid[0] * backbone.patch_size, grid[1] * backbone.patch_size)
        self.pixel_space = model.config.attention_space == "pixel"
        self.whole = whole == size
        self.register_buffer("scale", 1 / (255 * backbone.std))
        self.register_buffer("shift", -backbone.mean / backbone.std)
        self.register_buffer("rows", _resize_matrix(size[0], whole[0]))
        self.register_buffer("columns", _resize_matrix(size[1], whole[1]))
        self.register_buffer("positions", _positions(backbone, whole).to(dtype))
        self.register_buffer("patch_weights", (torch.arange(self.shape.tokens) >= self.shape.prefix).float())
        self.rotary = _register_rotary(self, backbone, whole, dtype)
        self.patches = _without_bias(backbone.patch_embedding()).to(dtype)
        self.norm = backbone.first_norm.to(dtype) if backbone.first_norm is not None else nn.Identity()
        self.blocks = nn.ModuleList(FoldedBlock(backbone.block_parts(layer)) for layer in backbone.layers).to(dtype)
        self.read = backbone.blocks
        self.form = backbone.tokens
        self.last_norm = backbone.last_norm.to(dtype) if self.form == "norm" else nn.Identity()
        self.heads = FoldedHeads(model)

    def forward(
        self, images: Tensor, gain: Tensor, tokens: Tensor, kv_cache: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the maps of all heads at the query tokens; ``engines.passes.PassInput`` describes the arguments.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8.
            gain: Factor of each pixel, ``(B, H, W)``.
            tokens: Indices of the query tokens, ``(B, K)``.
            kv_cache: Keys and values of each block in turn, ``(2 L, B, M, D)``.
            bias: Added to attention scores, ``(B, M + K)``.

        Returns:
            maps: ``(B, P, K)``, values 0..1; with prototypes ``(B, P + 1, K)``, the last row the memory offset of the
                maps' logits.
            kv_cache: The query tokens' own keys and values, ``(2 L, B, K, D)``.
            descriptors: ``(B, 2 D)``, of unit length; those of the image if every token is a query.
        """
        dtype = self.positions.dtype
        hidden = self._embed(images, gain.unsqueeze(1), tokens)
        turn = self._turn(tokens)
        own_cache: list[Tensor] = []
        found: list[Tensor] = []
        score_bias, cached = bias[:, None, None].to(dtype), kv_cache.to(dtype).unbind(0)
        for number, (block, *pair) in enumerate(zip(self.blocks, cached[::2], cached[1::2], strict=True), start=1):
            hidden, *own = block(hidden, *pair, score_bias, turn)
            own_cache += own
            if number in self.read:
                found.append(self._output(hidden).float())
        maps = self.heads(torch.cat(found, dim=2)).transpose(1, 2)
        present = self.patch_weights[tokens] * (bias[:, kv_cache.shape[2] :] == 0)
        return maps, torch.stack(own_cache).float(), self._describe(hidden.float(), present)

    def _embed(self, images: Tensor, gain: Tensor, tokens: Tensor) -> Tensor:
        """Embed images, weighted by ``gain`` ``(B, 1, H, W)``, as the query tokens before the first block."""
        pixels = images.permute(0, 3, 1, 2).float()
        if self.pixel_space:
            inputs = pixels * gain * self.scale + self.shift
        else:
            inputs = (pixels * self.scale + self.shift) * gain
        if not self.whole:
            inputs = self.rows @ inputs @ self.columns.T
        patches = self.patches(inputs.to(self.positions.dtype)).flatten(2).transpose(1, 2)
        hidden: Tensor = self.norm(F.pad(patches, (0, 0, self.shape.prefix, 0)) + self.positions)
        return hidden.gather(1, tokens.unsqueeze(2).expand(-1, -1, hidden.shape[2]))

    def _turn(self, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the rotary positions of the query tokens, ``(B, 1, K, head width)`` each, if the family has them."""
        return (self.cosine[tokens].unsqueeze(1), self.sine[tokens].unsqueeze(1)) if self.rotary else None

    def _output(self, hidden: Tensor) -> Tensor:
        """Return a block's output in the form that the heads read."""
        if self.form == "unit":
            unit: Tensor = F.normalize(hidden, dim=-1) * hidden.shape[-1] ** 0.5
            return unit
        normed: Tensor = self.last_norm(hidden)
        return normed

    def _describe(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Compute descriptors as ``Backbone.describe``; ``present`` ``(B, K)`` is 1 for patches, else 0."""
        mean = F.normalize((present.unsqueeze(1) @ hidden).squeeze(1), dim=-1)
        first = F.normalize(hidden[:, 0], dim=-1) if self.shape.prefix else mean
        return torch.cat([first, mean], dim=-1) / 2**0.5


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
        self.products = linear_layer(-2 * self.centres, self.centres.square().sum(1))

    def nearest_squared(self, scaled: Tensor) -> Tensor:
        """Compute the same as ``Prototypes``, to rounding."""
        squared: Tensor = scaled.square().sum(-1) + self.products(scaled).amin(-1)
        return squared


def graph_shape(model: ClipAda) -> GraphShape:
    """Determine the sizes of the graph that a model folds into."""
    size, backbone = model.config.size, model.backbone
    return GraphShape(
        image_size=written_size(size),
        grid=backbone.grid(size),
        blocks=len(backbone.layers),
        width=backbone.block_width,
        passes=len(model.projections),
        prototypes=model.memory is not None,
        prefix=backbone.prefix,
    )


def _affine(layer: Any) -> Tensor:
    """Join a linear layer's parameters to ``[W b]``, ``(E, D + 1)``, in float64."""
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).double()


def _linear_of(affine: Tensor) -> nn.Linear:
    """Make a linear layer from ``(K, D + 1)`` coefficients, the constant last."""
    return linear_layer(affine[:, :-1].float(), affine[:, -1].float())


def _positions(backbone: Backbone, whole: tuple[int, int]) -> Tensor:
    """Compute the constant that is added to the embedded patches, ``(1, T, D)``: all but the convolution's products.

    These are positions and the convolution's bias, and the prefix tokens in their rows: the embedding of a black image.
    """
    with torch.no_grad():
        return backbone.embed(backbone.mean.new_zeros(1, 3, *whole))


def _without_bias(convolution: nn.Conv2d) -> nn.Conv2d:
    """Make the patch convolution without its bias, which is among the positions."""
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        stride=convolution.stride,  # type: ignore[arg-type]
        bias=False,
        device="meta",
    )
    plain.weight = nn.Parameter(convolution.weight.detach(), requires_grad=False)
    return plain


def _register_rotary(folded: nn.Module, backbone: Backbone, whole: tuple[int, int], dtype: torch.dtype) -> bool:
    """Register the rotary positions of all tokens, ``(T, head width)`` each; those of the prefix do not turn."""
    with torch.no_grad():
        found = backbone.rotary(backbone.mean.new_zeros(1, 3, *whole))
    if found is None:
        return False
    cosine, sine = found
    folded.register_buffer("cosine", torch.cat([cosine.new_ones(backbone.prefix, cosine.shape[1]), cosine]).to(dtype))
    folded.register_buffer("sine", torch.cat([sine.new_zeros(backbone.prefix, sine.shape[1]), sine]).to(dtype))
    return True


def _resize_matrix(old: int, new: int) -> Tensor:
    """Build the matrix ``(new, old)`` of the antialiased bilinear resize of one axis, which is linear and separable."""
    identity = torch.eye(old)[None, None]
    return F.interpolate(identity, size=(new, old), mode="bilinear", align_corners=False, antialias=True)[0, 0]
