"""Settings of the memory of good parts and of the filter over it. Beyond the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from clipada.config.schema import brief, require

Selection = Literal["sampled", "greedy", "random"]
Copies = Literal["auto", "none", "moved", "turned"]
Search = Literal["auto", "exact", "indexed"]

BYTES_BESIDE = 2
"""Bytes of a row beside those of its channels: its usual distance."""

INDEXED_ROWS = 4000
"""Rows of a product in a block and view from which on an index is faster than to compare all."""

LEAST_RECALL = 0.98
"""Share of good patches whose nearest row an index finds, below which ``auto`` compares all rows."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """The memory: normal patches of every product, whose distance says how unusual a patch is."""

    rows: int = 0
    """Patches kept of each product in each block and each view that is read; 0 for no memory. A row of 384 channels
    takes 386 bytes: 13,000 rows in two blocks are 10 MB a product."""

    megabytes: float = 0.0
    """Most megabytes of a product's rows, in all blocks and views together; 0 for no limit beside ``rows``."""

    crop: bool = False
    """True to read only the box in which a product's good images show it, where that is clearly smaller than the image
    in nearly all of them: the part gets more of the input's pixels. Without ``memory.whole``, defects outside of the
    box are not seen."""

    whole: bool = False
    """True for a second view, which is searched in rows of its own: the whole image at ``filter.scale``. The map is the
    mean of both views' evidence; outside of its box, the part's view has none."""

    selection: Selection = "greedy"
    """Choice of the rows. ``greedy``: repeatedly the patch farthest from those chosen before (the core-set of
    PatchCore), which covers rare patches of good parts too. ``sampled``: in rounds, each with a probability that grows
    with the third power of that distance. ``random``."""

    copies: Copies = "auto"
    """Changed copies of the good images, whose patches join the memory of a product of at most 20 images. ``turned``:
    by evenly spaced angles. ``moved``: by a few percent of the image. ``auto``: those, if any, with which synthetic
    anomalies stand out best from good patches of images that are left out."""

    neighbors: int = 8
    """Rows that are compared with each patch: the nearest, and those nearest in parts of the memory."""

    search: Search = "auto"
    """``exact``: a patch is compared with all rows of its product. ``indexed``: a quarter of the channels choose a few
    rows to compare, several times as fast; the nearest row of few patches is missed. ``auto``: indexed from 4,000 rows
    on, if at least 98 % of good patches, measured in the training, find their nearest row."""

    weight: float = 1.0
    """Weight of the distance, in standard deviations of normal patches, beside the filter's logit."""

    share: float = 0.01
    """The image score is the mean of this share of the map's highest cells, before any smoothing."""

    __repr__ = brief

    def __post_init__(self) -> None:
        require(self.rows >= 0, "memory.rows", "0 or more", self.rows)
        require(self.megabytes >= 0, "memory.megabytes", "0 or more", self.megabytes)
        require(self.copies in get_args(Copies), "memory.copies", " | ".join(get_args(Copies)), self.copies)
        require(self.search in get_args(Search), "memory.search", " | ".join(get_args(Search)), self.search)
        require(self.neighbors >= 1, "memory.neighbors", "1 or more", self.neighbors)
        require(self.weight >= 0, "memory.weight", "0 or more", self.weight)
        require(0 < self.share <= 1, "memory.share", "more than 0, at most 1", self.share)

    def measures_recall(self, rows: int) -> bool:
        """Return True if ``rows`` of a product in a block and view may be searched by an index."""
        return self.search == "indexed" or (self.search == "auto" and rows >= INDEXED_ROWS)

    def indexed(self, recall: Mapping[str, float]) -> bool:
        """Return True if the rows are searched by an index with this recall of each product; empty if not measured."""
        if self.search == "auto":
            return bool(recall) and min(recall.values()) >= LEAST_RECALL
        return self.search == "indexed"

    def most_rows(self, width: int, blocks: int) -> int:
        """Return the most rows of a product in a block and view, of ``width`` channels in each of ``blocks``."""
        if not self.megabytes:
            return self.rows
        each = (width + BYTES_BESIDE) * blocks * (2 if self.whole else 1)
        rows = min(self.rows, int(1e6 * self.megabytes / each))
        return max(1, rows // self.neighbors) * self.neighbors


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """The filter: a small network that learns from synthetic anomalies which distances are defects."""

    images: int = 0
    """Synthetic anomalies that are drawn on each product's images; 0 for no filter."""

    least_images: int = 21
    """Fewest good images of a product that the filter learns from. Without any product of so many, the memory alone
    detects: a filter that has seen few good images takes what is usual for a defect."""

    scale: float = 1.0
    """Size of the images that the filter learns from, and of the view of the whole image, as a share of
    ``model.image_size``. The filter sees distances in standard deviations, which hardly depend on the size, and smaller
    images are read faster."""

    steps: int = 400
    """Optimizer steps."""

    batch_size: int = 21
    """Images in a step."""

    normal_share: float = 0.43
    """Share of a step's images that are good parts without an anomaly."""

    learning_rate: float = 2e-3
    """Highest learning rate of AdamW, on a one-cycle schedule."""

    width: int = 48
    """Hidden channels."""

    logits: bool = False
    """True if the filter also sees the logits of the prompt and the projection, which are then trained with it."""

    __repr__ = brief

    def __post_init__(self) -> None:
        require(self.images >= 0, "filter.images", "0 or more", self.images)
        require(0 < self.scale <= 1, "filter.scale", "more than 0, at most 1", self.scale)
        require(self.least_images >= 2, "filter.least_images", "2 or more", self.least_images)
        for name in ("steps", "batch_size", "width"):
            require(getattr(self, name) >= 1, f"filter.{name}", "1 or more", getattr(self, name))
        require(0 <= self.normal_share < 1, "filter.normal_share", "0 to less than 1", self.normal_share)
        require(self.learning_rate > 0, "filter.learning_rate", "more than 0", self.learning_rate)
