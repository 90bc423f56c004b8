"""A model with a memory folded into one graph: vision tower, search of the memory, filter and image score."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from clipada.engines.export.folding import FoldedTower, FoldedView
from clipada.engines.export.heads import FoldedHeads
from clipada.models.backbones import Reading
from clipada.models.clip_ada import ClipAda
from clipada.models.memory_head import Detection, MemoryHead, View


class FoldedDetector(FoldedTower):
    """One pass over a batch of images, read by a memory's detector.

    Args:
        model: A trained model with a head.
        dtype: Arithmetic of the vision tower. Pixels and heads stay in float32.
        shared: False to give the glance blocks of its own. OpenVINO computes in int8 only with weights that a single
            product uses; those that both views share would stay in float32.
    """

    def __init__(self, model: ClipAda, dtype: torch.dtype = torch.float32, *, shared: bool = True) -> None:
        super().__init__(model, dtype)
        self.describe = model.backbone.describe
        self.heads = _Heads(model)
        head = self.heads.detector
        self.glance_blocks = self.blocks if shared or head.one_view else deepcopy(self.blocks)
        self.glance = self.view if head.one_view else FoldedView(model.backbone, self.shape.size, dtype, head.glance)

    @property
    def given_inside(self) -> bool:
        """True if images come with the region of interest that they show."""
        return self.heads.detector.crops.given_inside

    def forward(
        self, images: Tensor, products: Tensor, inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect anomalies.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8.
            products: The product of each image, ``(B,)`` int64; -1 to find it.
            inside: Region of interest in each image, ``(B, H, W)`` int8; -1 for that of its product. ``None`` if
                regions are never given.

        Returns:
            maps: ``(B, H, W)``, values 0..1.
            scores: ``(B,)``, values 0..1.
            descriptors: ``(B, 2 D)``, of unit length.
            found: The products whose memory was searched, ``(B,)`` int64.
        """
        head = self.heads.detector
        inputs = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        part = whole = self.read_view(inputs, self.glance)
        found = head.resolve(whole.descriptors, products)
        if not head.one_view:
            part = self.read_view(head.crops.cut(inputs, found), self.view)
        shown = None if inside is None else head.crops.completed(inside, found)
        maps, scores, found = self.heads(part, whole, found, shown)
        return maps, scores, whole.descriptors, found

    def read_view(self, inputs: Tensor, view: FoldedView) -> Reading:
        """Read normalized inputs ``(B, 3, H, W)`` at the size of a view."""
        hidden = self.embed(inputs, view)
        turn = (view.cosine[None, None], view.sine[None, None]) if view.rotary else None
        found: list[Tensor] = []
        for number, block in enumerate(self.glance_blocks if view is self.glance else self.blocks, start=1):
            hidden, *_ = block(hidden, turn=turn)
            if number in self.read:
                found.append(self.output(hidden)[:, self.shape.prefix :])
        return Reading(torch.cat(found, dim=2), self.describe(hidden.float()))


class _Heads(nn.Module):
    """The coarse logits and the memory's detector."""

    def __init__(self, model: ClipAda) -> None:
        super().__init__()
        if model.head is None:
            raise ValueError("a model without a memory")
        self.detector: MemoryHead = model.head
        sees_logits = model.head.filter is not None and model.head.filter.logits
        self.coarse = FoldedHeads(model) if sees_logits else None

    def forward(self, part: Reading, whole: Reading, products: Tensor, inside: Tensor | None) -> Detection:
        detection: Detection = self.detector(self.view(part), self.view(whole), products, inside)
        return detection

    def view(self, reading: Reading) -> View:
        """Add the coarse logits to a reading; the first channel stands for them where the filter does not see them."""
        patches = reading.patches
        return View(reading, patches[..., 0] if self.coarse is None else self.coarse.logits(patches)[..., 0])
