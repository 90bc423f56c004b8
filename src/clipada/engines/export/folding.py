"""A trained model folded into one small graph: no text tower, no projection, no unused block.

Folding moves constants into weights, so that the graph computes the same maps with fewer FLOPs. The prompt does not
depend on the image, so the text tower becomes the constant ``t_hat``. The logits of a pass (equation 3, ``S = V t_hat``
with ``V = F W + b``) are linear in the tokens ``F``, so projection and prompt become one vector and one number per
pass: ``S = F (W t_hat) + b . t_hat``. The scales and shifts of LayerNorms go into the linear layers after them, and the
scale of attention into the queries.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.engines.export.blocks import FoldedBlock
from clipada.engines.export.heads import FoldedHeads
from clipada.engines.passes import GraphShape
from clipada.models.backbones import Backbone
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import resize_matrix
from clipada.types import written_size


class FoldedView(nn.Module):
    """The constants of an input of one size: its resize to whole patches, and the positions of its tokens.

    Args:
        backbone: The backbone.
        size: Size of the input, ``(H, W)``.
        dtype: Arithmetic of the vision tower.
        scale: Size at which it is read, as a share of ``size``.
    """

    rows: Tensor
    columns: Tensor
    positions: Tensor
    cosine: Tensor
    sine: Tensor

    def __init__(self, backbone: Backbone, size: tuple[int, int], dtype: torch.dtype, scale: float = 1.0) -> None:
        super().__init__()
        whole = backbone.scaled_size(size, scale)
        self.same = whole == size
        self.register_buffer("rows", resize_matrix(size[0], whole[0]))
        self.register_buffer("columns", resize_matrix(size[1], whole[1]))
        self.register_buffer("positions", _positions(backbone, whole).to(dtype))
        self.rotary = _register_rotary(self, backbone, whole, dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """Resize inputs ``(B, 3, H, W)`` to whole patches."""
        return inputs if self.same else self.rows @ inputs @ self.columns.T


class FoldedTower(nn.Module):
    """The vision tower folded: pixels to the tokens of the blocks that are read.

    Shapes: ``B`` images of ``H x W`` pixels, token grid ``h x w``, ``T`` tokens with those of the prefix, ``L`` blocks
    of width ``D``. Names of attributes are names of weights in the graph's file.

    Args:
        model: A trained model. It is not changed; unchanged parts are shared.
        dtype: Arithmetic of the vision tower. Pixels and heads stay in float32.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: ClipAda, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        backbone, self.shape = model.backbone, graph_shape(model)
        if dtype != torch.float32:
            backbone = deepcopy(backbone)
        self.dtype = dtype
        self.view = FoldedView(backbone, self.shape.size, dtype)
        self.register_buffer("scale", 1 / (255 * backbone.std))
        self.register_buffer("shift", -backbone.mean / backbone.std)
        self.patches = _without_bias(backbone.patch_embedding()).to(dtype)
        self.norm = backbone.first_norm.to(dtype) if backbone.first_norm is not None else nn.Identity()
        self.blocks = nn.ModuleList(FoldedBlock(backbone.block_parts(layer)) for layer in backbone.layers).to(dtype)
        self.read = backbone.blocks
        self.form = backbone.tokens
        self.last_norm = backbone.last_norm.to(dtype) if self.form == "norm" else nn.Identity()

    def embed(self, inputs: Tensor, view: FoldedView) -> Tensor:
        """Embed normalized inputs ``(B, 3, H, W)`` as tokens before the first block, ``(B, T, D)``."""
        patches = self.patches(view(inputs).to(self.dtype)).flatten(2).transpose(1, 2)
        hidden: Tensor = self.norm(F.pad(patches, (0, 0, self.shape.prefix, 0)) + view.positions)
        return hidden

    def output(self, hidden: Tensor) -> Tensor:
        """Return a block's output in the form that the heads read, in float32."""
        if self.form == "unit":
            unit: Tensor = F.normalize(hidden, dim=-1) * hidden.shape[-1] ** 0.5
            return unit.float()
        normed: Tensor = self.last_norm(hidden)
        return normed.float()


class FoldedPass(FoldedTower):
    """One pass over a batch of images, read by the heads of all passes.

    Every pass runs the same vision tower over ``X * gain`` and differs only in ``gain`` (1 in the coarse pass; ``A`` or
    ``1 + A`` in a refinement) and in its head. So one graph computes them all and stores the weights once; the caller
    reads the row of the pass's own head. Not every token needs to be a query: the others contribute the keys and values
    of an earlier pass, the KV cache.

    Shapes: as ``FoldedTower``, and ``K`` query tokens, ``M`` tokens in the KV cache, ``P = R + 1`` passes.

    Args:
        model: As for ``FoldedTower``.
        dtype: As for ``FoldedTower``.
    """

    patch_weights: Tensor

    def __init__(self, model: ClipAda, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype)
        self.pixel_space = model.config.attention_space == "pixel"
        self.register_buffer("patch_weights", (torch.arange(self.shape.tokens) >= self.shape.prefix).float())
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
        dtype, view = self.dtype, self.view
        hidden = self.embed(self._weighted(images, gain.unsqueeze(1)), view)
        hidden = hidden.gather(1, tokens.unsqueeze(2).expand(-1, -1, hidden.shape[2]))
        turn = (view.cosine[tokens].unsqueeze(1), view.sine[tokens].unsqueeze(1)) if view.rotary else None
        own_cache: list[Tensor] = []
        found: list[Tensor] = []
        score_bias, cached = bias[:, None, None].to(dtype), kv_cache.to(dtype).unbind(0)
        for number, (block, *pair) in enumerate(zip(self.blocks, cached[::2], cached[1::2], strict=True), start=1):
            hidden, *own = block(hidden, *pair, score_bias, turn)
            own_cache += own
            if number in self.read:
                found.append(self.output(hidden))
        maps = self.heads(torch.cat(found, dim=2)).transpose(1, 2)
        present = self.patch_weights[tokens] * (bias[:, kv_cache.shape[2] :] == 0)
        return maps, torch.stack(own_cache).float(), self._describe(hidden.float(), present)

    def _weighted(self, images: Tensor, gain: Tensor) -> Tensor:
        """Normalize images, weighted by ``gain`` ``(B, 1, H, W)``, ``(B, 3, H, W)``."""
        pixels = images.permute(0, 3, 1, 2).float()
        if self.pixel_space:
            return pixels * gain * self.scale + self.shift
        return (pixels * self.scale + self.shift) * gain

    def _describe(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Compute descriptors as ``Backbone.describe``; ``present`` ``(B, K)`` is 1 for patches, else 0."""
        mean = F.normalize((present.unsqueeze(1) @ hidden).squeeze(1), dim=-1)
        first = F.normalize(hidden[:, 0], dim=-1) if self.shape.prefix else mean
        return torch.cat([first, mean], dim=-1) / 2**0.5


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
