"""Regions of interest as views of a product's images show them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.models.crops import shown_tokens
from clipada.types import Mask


@dataclass(frozen=True, kw_only=True)
class ViewRegions:
    """Regions of interest as ``m`` views of a product's images show them.

    Attributes:
        masks: Those that differ, ``(s, H, W)`` bool.
        numbers: The mask of each view, ``(m,)`` int64.
    """

    masks: NDArray[np.bool_]
    numbers: Tensor

    @classmethod
    def of_all(cls, inside: Mask | None, count: int) -> Self | None:
        """Return the regions of ``count`` views that all show the same; ``None`` where all of them counts."""
        if inside is None:
            return None
        return cls(masks=np.stack([inside]), numbers=torch.zeros(count, dtype=torch.int64))

    def __getitem__(self, view: int) -> Mask:
        """Return the mask ``(H, W)`` of a view."""
        found: Mask = self.masks[int(self.numbers[view])]
        return found

    @property
    def pixels(self) -> Tensor:
        """The mask of each view, ``(m, H, W)`` bool."""
        return torch.from_numpy(self.masks)[self.numbers]

    def tokens(self, grid: tuple[int, int]) -> Tensor:
        """Find the tokens ``(h, w)`` of each view that show any of its region, ``(m, h w)`` bool."""
        return shown_tokens(torch.from_numpy(self.masks), grid)[self.numbers]

    def at(self, places: Tensor) -> Self:
        """Return the regions of some views, by their positions ``(k,)``."""
        return replace(self, numbers=self.numbers[places])

    def joined(self, others: ViewRegions) -> Self:
        """Return the regions of these views and, after them, of others."""
        numbers = torch.cat([self.numbers, len(self.masks) + others.numbers])
        return replace(self, masks=np.concatenate([self.masks, others.masks]), numbers=numbers)
