"""Detector over a memory: its distances, filtered or not, as a map and an image score. Beyond the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clipada.config import Config
from clipada.models.backbones import Backbone, Reading
from clipada.models.crops import Crops, shown_tokens
from clipada.models.filter import Filter, enlarged
from clipada.models.known_defects import KnownDefects
from clipada.models.memory import PatchMemory, Retrieval

GLANCE = 0.375
"""Size at which an image is read to find its product, as a share of the input size, where only boxes are searched."""

WHOLE_PREFIX = "whole_"
"""Prefix of the names, in files, of the tensors of the memory of whole images."""

SCALE_NAMES = ("low", "calm", "knee")
"""Names of the numbers that scale the evidence."""

SOFTNESS = 4.0
"""Range of the calm evidence over the width of the bend between calm and linear."""


class View(NamedTuple):
    """A part of each image of a batch as the backbone reads it, or the whole.

    Attributes:
        reading: Its tokens ``(B, N, L W)`` and descriptors.
        logits: CLIP-ADA's coarse logits of them, ``(B, N)``.
    """

    reading: Reading
    logits: Tensor


class Detection(NamedTuple):
    """The output for a batch of images.

    Attributes:
        maps: ``(B, H, W)``, values 0..1.
        scores: Image scores, ``(B,)``, values 0..1.
        products: The products whose rows were searched, ``(B,)`` int64.
    """

    maps: Tensor
    scores: Tensor
    products: Tensor


class MemoryHead(nn.Module):
    """Memory, filter and image score.

    The evidence for a defect at a place is the filter's logit plus ``weight`` times the mean surprise of all blocks:
    the distance stays in the sum, so that what no synthetic anomaly resembles is still found. Without a filter the
    surprise alone is the evidence. The part's box and, with a memory of its own, the whole image at a smaller size are
    two views, whose evidence is averaged; outside of its box, the part's view has no evidence. The image's evidence is
    the mean of the highest ``share`` of the cells, before any smoothing. Known defects add to the evidence of the box,
    and never take any away.

    Attributes:
        known: What was learned from photos of known defects, if anything.

    Args:
        bank: The memory of good parts, as the boxes show them.
        whole: The memory of whole images; ``None`` to search only the boxes.
        filter_net: The trained filter, if there is one.
        crops: The boxes of the input that are read, and the way back.
        glance: Size at which the whole image is read, as a share of the input size: to find its product, and for
            ``whole``.
        weight: Weight of the surprise beside the filter's logit.
        share: Share of a map's cells in the image score, more than 0, at most 1.
        low: Evidence that a box's view has outside of it.
        calm: Evidence that most cells of good parts stay below; the same as ``low`` in runs of earlier versions.
        knee: Evidence above ``calm`` that becomes 1/2.
    """

    low: Tensor
    calm: Tensor
    knee: Tensor

    def __init__(
        self,
        bank: PatchMemory,
        filter_net: Filter | None,
        crops: Crops,
        *,
        whole: PatchMemory | None = None,
        glance: float = 1.0,
        weight: float,
        share: float,
        low: float = 0.0,
        calm: float = 0.0,
        knee: float = 1.0,
    ) -> None:
        super().__init__()
        self.bank = bank
        self.whole = whole
        self.filter = filter_net
        self.known: KnownDefects | None = None
        self.crops = crops
        self.glance = glance
        self.weight = weight
        self.share = share
        for name in SCALE_NAMES:
            self.register_buffer(name, torch.zeros(()))
        self.set_scale(low, calm, knee)

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products in the memory, in the order of their numbers."""
        return self.bank.products

    @property
    def one_view(self) -> bool:
        """True if the whole image at the input size is all that is read."""
        return self.glance == 1.0 and not self.crops.any

    def resolve(self, descriptors: Tensor, products: Tensor | None) -> Tensor:
        """Return the product of each image, ``(B,)`` int64: as given, or found where it is -1 or ``None``."""
        found = self.bank.find_products(descriptors)
        return found if products is None else torch.where(products < 0, found, products)

    def forward(self, part: View, whole: View, products: Tensor, inside: Tensor | None = None) -> Detection:
        """Detect anomalies.

        Args:
            part: The box of each image.
            whole: The whole image; it is not searched without a memory of whole images.
            products: The product of each image, ``(B,)`` int64.
            inside: Region of interest in each image, ``(B, H, W)``, where it is not that of its product: in a tile.
        """
        shown, wide = self.shown(inside)
        found = None if self.whole is None else self.whole(whole.reading, products, wide)
        near = self.bank(part.reading, products, shown)
        evidence = self.evidence(near, part.logits, found, whole.logits, inside=inside)
        if self.known is not None:
            evidence = evidence + self.gain(self.known(part.reading.patches, products), products, inside)
        maps = self.crops.enlarged(self.to_unit(evidence))
        return Detection(maps, self.to_unit(self.pooled(evidence)), products)

    def shown(self, inside: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Find the tokens, in both views, that show any of the regions of interest ``(B, H, W)`` of images."""
        if inside is None:
            return None, None
        wide = self.crops.whole_grid
        return shown_tokens(inside, self.crops.grid), None if wide is None else shown_tokens(inside, wide)

    def evidence(
        self,
        part: Retrieval,
        part_logits: Tensor,
        whole: Retrieval | None = None,
        whole_logits: Tensor | None = None,
        *,
        inside: Tensor | None = None,
    ) -> Tensor:
        """Compute the evidence ``(B, 4 h, 4 w)`` of the memories' answers and CLIP-ADA's logits ``(B, N)``.

        ``inside`` is as for ``forward``.
        """
        boxes, background = self.view_evidence(part, part_logits, self.crops.grid), None
        if whole is not None and whole_logits is not None and self.crops.whole_grid is not None:
            background = self.view_evidence(whole, whole_logits, self.crops.whole_grid)
        return self.crops.joined(boxes, background, self.low, part.products, inside)

    def view_evidence(self, found: Retrieval, logits: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute the evidence of one view at the resolution of the filter's map."""
        surprise = found.surprise[..., 0].mean(dim=2).reshape(-1, 1, *grid)
        distance = enlarged(surprise, grid).squeeze(1)
        if self.filter is None:
            return distance
        evidence: Tensor = self.filter(self.filter.channels(found, logits), grid) + self.weight * distance
        return evidence

    def gain(self, added: Tensor, products: Tensor, inside: Tensor | None = None) -> Tensor:
        """Place what known defects add to the patches ``(B, N)`` of each image's box in the map, ``(B, 4 h, 4 w)``."""
        grid = self.crops.grid
        cells = enlarged(added.reshape(-1, 1, *grid), grid).squeeze(1)
        return self.crops.joined(cells, None, torch.zeros_like(self.low), products, inside)

    def pooled(self, evidence: Tensor) -> Tensor:
        """Return the mean of the highest cells of each map ``(B, 4 h, 4 w)``, ``(B,)``."""
        cells = evidence.flatten(1)
        return cells.topk(cell_count(cells.shape[1], self.share), dim=1).values.mean(dim=1)

    def to_unit(self, evidence: Tensor) -> Tensor:
        """Map evidence to 0..1, in the same order: near 0 where it is calm, then linear to 1/2, then ever flatter.

        It is a function of ``s log(1 + exp((evidence - calm) / s))``, which falls to 0 below ``calm``.
        """
        above = evidence - self.calm
        if self._softness > 0:
            scaled = above / self._softness
            above = self._softness * (scaled.clamp_min(0) + torch.log1p(torch.exp(-scaled.abs())))
        above = above.clamp_min(0)
        return torch.where(above <= self.knee, above / (2 * self.knee), 1 - self.knee / (2 * above.clamp_min(1e-6)))

    def memory_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the memories, the boxes and the scale of the evidence by name, as they are stored."""
        whole = {} if self.whole is None else self.whole.tensors()
        of_whole = {WHOLE_PREFIX + name: value for name, value in whole.items() if name != "centers"}
        scale = {name: getattr(self, name) for name in SCALE_NAMES}
        return self.bank.tensors() | of_whole | {"boxes": self.crops.boxes} | scale

    def set_scale(self, low: float, calm: float, knee: float) -> None:
        """Set the scale of the evidence; see the constructor."""
        for name, value in zip(SCALE_NAMES, (low, calm, knee), strict=True):
            getattr(self, name).fill_(value)
        self._softness = (calm - low) / SOFTNESS


def build_crops(boxes: Tensor, config: Config, backbone: Backbone, inside: Tensor | None = None) -> Crops:
    """Build the boxes of all products, ``(P, 4)``, and the view of the whole image if the settings ask for one.

    Args:
        boxes: As for ``Crops``.
        config: All settings.
        backbone: The backbone that reads the boxes.
        inside: Regions of interest, ``(P, H, W)`` bool.
    """
    size = config.model.size
    whole = backbone.grid(backbone.scaled_size(size, config.filter.scale)) if config.memory.whole else None
    return Crops(boxes, size, backbone.grid(size), whole, inside, config.inspection.tiled)


def glance_scale(config: Config, crops: Crops) -> float:
    """Return the size at which the whole image is read, as a share of the input size."""
    if config.memory.whole:
        return config.filter.scale
    return GLANCE if crops.any else 1.0


def cell_count(cells: int, share: float) -> int:
    """Return the number of a map's ``cells`` in the image score, at least 1."""
    return max(1, round(share * cells))
