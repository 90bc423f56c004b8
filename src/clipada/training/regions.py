"""Regions of interest of a training: as asked for or recorded, and as views of images show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config
from clipada.data import Dataset
from clipada.data.roi import read_regions
from clipada.errors import RunError
from clipada.images.roi import RegionsOfInterest
from clipada.models.crops import shown_tokens
from clipada.runs.roi import read_roi
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


def chosen_regions(
    roi: Path | str | None, config: Config, dataset: Dataset, resumed: Path | None
) -> RegionsOfInterest | None:
    """Return the regions of interest of a training.

    Args:
        roi: File or folder that was asked for; ``None`` for what is recorded.
        config: All settings.
        dataset: The products.
        resumed: The run folder whose training is resumed; ``None`` for a new one.

    Returns:
        ``None`` if all of every image counts.

    Raises:
        DatasetError: They cannot be used.
        RunError: They contradict those recorded.
    """
    recorded = None if resumed is None else read_roi(resumed)
    if roi is None:
        return recorded
    asked = read_regions(Path(roi), dataset, config.model.rules)
    if resumed is not None and asked != recorded:
        raise RunError(
            "--roi contradicts the training that is resumed",
            expected="the regions of interest that it started with" if recorded else "none, as it started",
            remedy="leave it out: --resume continues with what was recorded; or train into another folder",
        )
    return asked


def described_regions(regions: RegionsOfInterest | None) -> Iterator[str]:
    """Say which share of the images counts, if not all."""
    if regions is not None:
        shares = [f"{name} {region.drawn().mean():.0%}" for name, region in regions.products.items()]
        yield f"region of interest: {', '.join(shares)} of the image"
