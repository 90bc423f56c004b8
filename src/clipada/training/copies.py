"""Changed copies of a product's good images, whose patches join its memory while there are few images.

A copy shows the part in a place or a position that none of the images has. It helps where parts vary so, and hurts
where a defect looks like the change: a part that is turned the wrong way. So a trial decides, with synthetic anomalies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Copies
from clipada.devices import to_tensor
from clipada.evaluation.metrics import average_precision
from clipada.models.crops import shown_tokens
from clipada.models.filter import SCALE
from clipada.randomness import derived_generator, derived_rng
from clipada.synthesis.affine import rotations, warp
from clipada.training.part_box import LEAST_IMAGES
from clipada.training.pool import disturbed, draw_pool
from clipada.training.view_regions import ViewRegions

MOST_COPIED = 20
"""Most good images of a product of which copies are made: as many as have no filter."""

POSITIONS = 8
"""Positions of each image, its own among them, and twice as many of fewer than ``LEAST_IMAGES``; a multiple of 4, for
quarter turns. Half of them are worth far less, even with twice as many images."""

SHIFT = 0.04
"""Largest shift of a moved copy, as a share of the image."""

STAND_INS = 4
"""Disturbed copies of a product's only image, whose distances stand for those of other good images."""

NONE = -1
"""Source of an image that is no copy, and whose search leaves no row out."""

TRIAL_SIDE = 224
"""Longer side at which images are read for the trial."""

ANOMALIES = 20
"""Synthetic anomalies of a product's trial."""

LEAST_GAIN = 0.02
"""Share by which copies must raise the average precision of anomalous patches."""

MOST_LOSS = 0.1
"""Share by which they may lower it where images are too few to show how parts vary: more than the noise of a trial."""

KINDS: tuple[Copies, ...] = ("turned", "moved")
"""Kinds of copies that are tried."""

_LEAST_MEAN = 1e-4

Units = Callable[[NDArray[np.uint8]], Tensor]
"""Reads images ``(n, H, W, 3)`` as tokens of unit length in each block, ``(n, N, L, W)``."""


@dataclass(frozen=True, kw_only=True)
class References:
    """Good images of a product with their copies, and the images that are searched for the statistics of its memory.

    Attributes:
        images: The ``n`` good images, then their tiles and copies, ``(m, H, W, 3)``.
        sources: Position of the image that each is a tile or copy of, or its own, ``(m,)`` int64.
        searched: Images that are searched for, ``(k, H, W, 3)``: good images, or stand-ins for a second one.
        left_out: The source whose rows each of these searches leaves out, ``(k,)`` int64.
        places: Position of each of them in ``images``, ``(k,)`` int64; of the image that it stands in for.
        regions: Regions of interest in the ``m`` images; ``None`` if all of every image counts.
    """

    images: NDArray[np.uint8]
    sources: Tensor
    searched: NDArray[np.uint8]
    left_out: Tensor
    places: Tensor
    regions: ViewRegions | None = None

    @property
    def originals(self) -> int:
        """Number of good images, ``n``."""
        return int(self.sources.max()) + 1

    @classmethod
    def of(
        cls,
        images: NDArray[np.uint8],
        some: Tensor,
        kind: Copies,
        seed: int,
        own: Tensor | None = None,
        regions: ViewRegions | None = None,
    ) -> References:
        """Make the copies of a kind, and the stand-ins that a single image needs.

        Args:
            images: Good images, ``(n, H, W, 3)``, and their tiles.
            some: Positions of those that are searched for, ``(k,)``.
            kind: Kind of copies.
            seed: Source of the draws.
            own: Position of the good image that each shows; ``None`` if there are no tiles.
            regions: The regions of interest in the images; they are changed as the copies are.
        """
        own = torch.arange(len(images)) if own is None else own
        copies, sources = drawn_copies(images, kind, seed)
        searched, left_out = images[some.numpy()], own[some]
        if not own.any():
            rng = derived_rng(seed, "stand-ins")
            some = some.repeat(-(-STAND_INS // len(some)))[: max(STAND_INS, len(some))]
            searched = np.stack([disturbed(images[place], rng) for place in some.tolist()])
            left_out = torch.full((len(some),), NONE)
        if regions is not None and len(copies):
            regions = regions.joined(_copied(regions, len(copies) // len(images), kind, seed))
        return cls(
            images=np.concatenate([images, copies]) if len(copies) else images,
            sources=torch.cat([own, own[sources]]),
            searched=searched,
            left_out=left_out,
            places=some,
            regions=regions,
        )

    def inside(self, grid: tuple[int, int]) -> Tensor | None:
        """Find the tokens ``(h, w)`` of each image that show any of its region of interest, ``(m, h w)`` bool."""
        return None if self.regions is None else self.regions.tokens(grid)

    def joined(self, copies: NDArray[np.uint8], sources: Tensor, regions: ViewRegions | None = None) -> References:
        """Return these references with further copies ``(c, H, W, 3)`` and the position of the image of each.

        ``regions`` are the regions of interest in the copies.
        """
        if not len(copies):
            return self
        together = None if self.regions is None or regions is None else self.regions.joined(regions)
        images = np.concatenate([self.images, copies])
        return replace(self, images=images, sources=torch.cat([self.sources, sources]), regions=together)


def _copied(regions: ViewRegions, each: int, kind: Copies, seed: int) -> ViewRegions:
    """Return the regions of interest of images as each of their copies changes them."""
    size = regions.masks.shape[1:]
    matrices = _turns(each, size) if kind == "turned" else _moves(each, seed)
    pictures = [torch.from_numpy(mask).float().expand(each, 3, *size) for mask in regions.masks]
    changed = [warp(picture, matrices, outside="reflection")[:, 0].numpy() > 0.5 for picture in pictures]
    numbers = regions.numbers[:, None] * each + torch.arange(each)
    return ViewRegions(masks=np.concatenate(changed), numbers=numbers.flatten())


def drawn_copies(images: NDArray[np.uint8], kind: Copies, seed: int) -> tuple[NDArray[np.uint8], Tensor]:
    """Return copies of images ``(n, H, W, 3)`` and the position of the image of each, ``(c,)``; none of many images."""
    count, each = len(images), copies_each(len(images))
    if kind not in ("moved", "turned") or not each:
        return images[:0], torch.zeros(0, dtype=torch.int64)
    sources = torch.arange(count).repeat_interleave(each)
    matrices = _turns(each, images.shape[1:3]) if kind == "turned" else _moves(each, seed)
    pixels = to_tensor(images[sources.numpy()])
    copies = warp(pixels, matrices.repeat(count, 1, 1), outside="reflection")
    levels = (255 * copies).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return levels.contiguous().numpy(), sources


def copies_each(count: int) -> int:
    """Return the number of copies of each of ``count`` images."""
    return 0 if count > MOST_COPIED else (2 * POSITIONS if count < LEAST_IMAGES else POSITIONS) - 1


def _turns(count: int, size: tuple[int, ...]) -> Tensor:
    """Return the affine maps ``(count, 2, 3)`` of evenly spaced angles, without 0."""
    degrees = 360 * torch.arange(1, count + 1) / (count + 1)
    return rotations(degrees, (size[0], size[1]))


def _moves(count: int, seed: int) -> Tensor:
    """Return the affine maps ``(count, 2, 3)`` of shifts in all directions."""
    first = torch.rand((), generator=derived_generator(seed, "moved copies"))
    angles = 2 * torch.pi * (first + torch.arange(count) / count)
    shifts = 2 * SHIFT * torch.stack([angles.cos(), angles.sin()], dim=1)  # the image's edges are at -1 and 1
    return torch.cat([torch.eye(2).expand(count, 2, 2), shifts.unsqueeze(2)], dim=2)


def choose_copies(
    name: str,
    products: Mapping[str, NDArray[np.uint8]],
    units: Units,
    grid: tuple[int, int],
    seed: int,
    inside: NDArray[np.bool_] | None = None,
) -> Copies:
    """Choose the copies of a product with which synthetic anomalies stand out best from good images left out.

    Fewer than four images may show parts in the same place by chance. They are turned, unless synthetic anomalies then
    stand out clearly less.

    Args:
        name: The product.
        products: Good images of all products, ``(n, H, W, 3)``.
        units: Reads images.
        grid: Grid ``(h, w)`` of their tokens.
        seed: Source of all draws.
        inside: The product's region of interest, ``(H, W)``: only its patches count.
    """
    images = products[name]
    if not copies_each(len(images)):
        return "none"
    own = References.of(images, torch.arange(len(images)), "none", seed)
    tokens, left_out, anomalous = [units(own.searched)], [own.left_out], [torch.zeros(len(own.searched), *grid)]
    regions = ViewRegions.of_all(inside, len(own.searched))
    for drawn in draw_pool(own.searched, products, ANOMALIES, grid, derived_rng(seed, "copies", name), regions):
        tokens.append(units(drawn.images))
        left_out.append(own.left_out[drawn.sources])
        anomalous.append(F.max_pool2d(drawn.masks.float(), SCALE))
    every = torch.ones(1, grid[0] * grid[1], dtype=torch.bool)
    counts = every if inside is None else shown_tokens(torch.tensor(inside)[None], grid)
    labels = torch.cat(anomalous).flatten(1) > 0
    trial = _Trial(torch.cat(tokens), torch.cat(left_out), labels, len(own.searched), counts[0])
    without = trial.distances(units(own.images), own.sources)
    few = len(images) < LEAST_IMAGES
    least = (1 - MOST_LOSS if few else 1 + LEAST_GAIN) * trial.precision(without)
    best: Copies = "none"
    for kind in KINDS[:1] if few else KINDS:
        copies, sources = drawn_copies(images, kind, seed)
        found = trial.precision(torch.minimum(without, trial.distances(units(copies), sources)))
        if found > least:
            least, best = found, kind
    return best


@dataclass(frozen=True)
class _Trial:
    """Tokens of good images and of synthetic anomalies, searched for in a product's rows.

    Attributes:
        tokens: ``(q, N, L, W)``, good images first.
        left_out: The source whose rows each search leaves out, ``(q,)``.
        anomalous: True for the patches with an anomaly, ``(q, N)``.
        good: Number of good images.
        counts: True for the patches that count, ``(N,)``.
    """

    tokens: Tensor
    left_out: Tensor
    anomalous: Tensor
    good: int
    counts: Tensor

    def distances(self, units: Tensor, sources: Tensor) -> Tensor:
        """Compute the distances ``(q, N, L)`` to the nearest of the tokens ``(m, N, L, W)`` of other sources, or 2."""
        rows, found = units.flatten(0, 1), []
        for tokens, own in zip(self.tokens, self.left_out.tolist(), strict=True):
            alike = torch.einsum("nlw,mlw->nlm", tokens, rows)
            nearest = alike.reshape(*alike.shape[:2], len(units), -1).amax(dim=3)
            found.append(1 - nearest.masked_fill(sources == own, -1).amax(dim=2))
        return torch.stack(found)

    def precision(self, distances: Tensor) -> float:
        """Compute the average precision of anomalous patches by their distances, all blocks alike."""
        distances = distances[:, self.counts]
        usual = distances[: self.good].mean(dim=(0, 1)).clamp_min(_LEAST_MEAN)
        labels = self.anomalous[:, self.counts].flatten()
        return average_precision((distances / usual).mean(dim=2).flatten().numpy(), labels.numpy())
