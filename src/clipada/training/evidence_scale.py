"""The scale of a memory's evidence, from good images whose own rows are left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from clipada.models.crops import cells_inside
from clipada.models.memory_head import MemoryHead
from clipada.training.study import Study


@torch.inference_mode()
def fit_scale(head: MemoryHead, parts: Mapping[str, Study], whole: Mapping[str, Study]) -> dict[str, Tensor]:
    """Set the scale of the evidence by good images: what is far above them all becomes more than 1/2.

    It is calm up to the evidence that 90 % of their cells do not exceed, and linear from there to three times the range
    up to the image score that 1 % of them exceed. Cells outside of a region of interest do not count.

    Args:
        head: The detector; its scale is set.
        parts: Studies of the products as their boxes show them.
        whole: Studies of whole images, where the head has a memory of them.

    Returns:
        The evidence of each product's images, ``(n, 4 h, 4 w)``.
    """
    numbered = list(enumerate(parts.items()))
    found = [part.retrieval(head.bank, number) for number, (_, part) in numbered]
    cells = [
        counted(head.view_evidence(one, part.logits, part.grid), part)
        for one, part in zip(found, parts.values(), strict=True)
    ]
    low, calm = (float(value) for value in np.quantile(torch.cat(cells).numpy(), [0.01, 0.9]))
    head.set_scale(low, calm, 1.0)
    maps = {}
    for one, (number, (name, part)) in zip(found, numbered, strict=True):
        second = () if head.whole is None else (whole[name].retrieval(head.whole, number), whole[name].logits)
        maps[name] = head.evidence(one, part.logits, *second, inside=part.inside)
    high = float(np.quantile(torch.cat([head.pooled(one) for one in maps.values()]).numpy(), 0.99))
    head.set_scale(low, calm, max(3 * (high - calm), 1e-3))
    return maps


def counted(evidence: Tensor, part: Study) -> Tensor:
    """Return the evidence ``(n, 4 h, 4 w)`` of a study's images, flat: that of their regions of interest alone."""
    return evidence.flatten() if part.inside is None else evidence[cells_inside(part.inside, part.grid)]
