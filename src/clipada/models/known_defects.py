"""Directions from normal patches to those of known defects, which add to the evidence of a memory. Beyond the paper.

A memory says how unusual a patch is; photos of real defects also say in which way defects are unusual. For each product
there are some directions ``w`` in the space of tokens, fitted in closed form (``training.known_defects``), and a level
that good parts stay below. A patch that is further along a direction than that gains evidence; no patch loses any, so
that whatever the memory finds is still found, and a kind of defect that was never shown keeps its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NEVER = -1.0
"""Offset of a direction of zeros, which adds nothing."""


class KnownDefects(nn.Module):
    """Directions of known defects.

    Shapes: ``P`` products, ``K`` directions of each, ``L`` blocks of width ``W``, ``B`` images, ``N`` patches.

    Args:
        directions: ``(P, K, L W)``; zeros where a product has fewer, or none.
        offsets: Minus the level below which a patch gains nothing, ``(P, K)``.
        blocks: ``L``.
    """

    directions: Tensor
    offsets: Tensor

    def __init__(self, directions: Tensor, offsets: Tensor, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.register_buffer("directions", directions.float())
        self.register_buffer("offsets", offsets.float())

    def forward(self, patches: Tensor, products: Tensor) -> Tensor:
        """Compute the evidence that known defects add to each patch.

        Args:
            patches: Tokens, ``(B, N, L W)``.
            products: The product of each image, ``(B,)`` int64.

        Returns:
            ``(B, N)``, 0 or more.
        """
        with torch.autocast(patches.device.type, enabled=False):
            tokens = unit_tokens(patches, self.blocks)
            along = tokens @ self.directions[products].transpose(1, 2) + self.offsets[products].unsqueeze(1)
            return along.amax(dim=2).clamp_min(0)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the constructor by name."""
        return {"directions": self.directions, "offsets": self.offsets}

    @classmethod
    def of_products(
        cls, products: Sequence[str], known: Mapping[str, tuple[Tensor, Tensor]], width: int, blocks: int
    ) -> Self:
        """Join what is known of some products, by name; the others gain nothing.

        Args:
            products: All products, in the order of their numbers.
            known: Directions ``(k, L W)`` and offsets ``(k,)`` of each product with known defects.
            width: ``L W``.
            blocks: ``L``.
        """
        most = max((len(offsets) for _, offsets in known.values()), default=1)
        directions = torch.zeros(len(products), most, width)
        levels = torch.full((len(products), most), _NEVER)
        for number, name in enumerate(products):
            if name in known:
                count = len(known[name][1])
                directions[number, :count], levels[number, :count] = known[name]
        return cls(directions, levels, blocks)


def unit_tokens(patches: Tensor, blocks: int) -> Tensor:
    """Return tokens ``(..., L W)`` in float32, of unit length in each of ``L`` blocks."""
    split = patches.float().unflatten(-1, (blocks, -1))  # type: ignore[no-untyped-call]
    return F.normalize(split, dim=-1).flatten(-2)
