"""The heads of an export: projection and prompt folded to one vector per pass, and prototypes as weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clipada.engines.export.blocks import linear_layer
from clipada.models.clip_ada import ClipAda, CosineSimilarity
from clipada.models.prototypes import Prototypes


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
        maps = self.logits(tokens).sigmoid()
        if self.prototypes is None:
            return maps
        return torch.cat((maps, self.prototype_weight * self.prototypes(tokens).unsqueeze(2)), dim=2)

    def logits(self, tokens: Tensor) -> Tensor:
        """Compute the logits ``(B, N, P)`` of every pass of tokens ``(B, N, D)``."""
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


def _affine(layer: Any) -> Tensor:
    """Join a linear layer's parameters to ``[W b]``, ``(E, D + 1)``, in float64."""
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).double()


def _linear_of(affine: Tensor) -> nn.Linear:
    """Make a linear layer from ``(K, D + 1)`` coefficients, the constant last."""
    return linear_layer(affine[:, :-1].float(), affine[:, -1].float())
