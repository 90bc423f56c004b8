"""Settings of the view: where the part is, and what of an image the model sees at once. Beyond the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipada.config.schema import brief, require

ViewName = Literal["whole", "tiles", "auto"]

AlignName = Literal["none", "shift", "pose"]

LEAST_TILE = 32
"""Smallest side of a tile, in pixels of the image."""


@dataclass(frozen=True, kw_only=True)
class InspectionConfig:
    """The view: the same for training, thresholds, evaluation and inspection, with every engine."""

    view: ViewName = "whole"
    """``whole``: every image is resized to the model's input. ``tiles``: it is cut into overlapping squares of the same
    size, each of which is read at the model's input size, so that defects of a few pixels of a large photo are seen;
    the whole image is read too, once. ``auto``: tiles where the training images are much larger than the model's
    input; a run records the decision."""

    tile: int | None = None
    """Side of a tile in pixels of the image, of its longer side if ``model.image_size`` is not a square. ``None``: a
    training decides by its images' size, and records it."""

    overlap: float = 0.25
    """Least share of a tile's side that neighboring tiles have in common, 0 to 0.5. Over it, the map of one tile fades
    into that of the next."""

    align: AlignName = "none"
    """Motion of the part that is undone before the model sees an image, so that the part is as in the reference of
    its product: one of the training images. ``shift``: it is moved. ``pose``: it is also turned and scaled a little,
    for parts of any direction. An image that does not fit is refused."""

    __repr__ = brief

    def __post_init__(self) -> None:
        least = self.tile is None or self.tile >= LEAST_TILE
        require(least, "inspection.tile", f"{LEAST_TILE} or more", self.tile)
        require(0 <= self.overlap <= 0.5, "inspection.overlap", "0 to 0.5", self.overlap)

    @property
    def tiled(self) -> bool:
        """True if images are cut into tiles."""
        return self.view == "tiles"
