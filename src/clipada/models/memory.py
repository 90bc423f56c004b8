"""Memory of good parts: normal patch tokens of every product, and distances to the nearest. Beyond the paper.

After PatchCore (Roth et al., CVPR 2022): a patch is as anomalous as it is far from every normal patch of its product.
Distances are cosine distances, ``1 - cos``, in each block that the backbone reads. Rows are counted for each product,
so that many products can share one model, and stored in 8 bits. All of a product's rows are searched, or those that an
index finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.models.backbones import Reading
from clipada.models.memory_index import RowIndex

EPSILON = 0.002
"""Added to cosine distances before their ratio is taken: the distance of two nearly equal patches is only noise."""


class Retrieval(NamedTuple):
    """The answer of a memory for the patches of a batch of images.

    Shapes: ``B`` images, ``N`` patches, ``L`` blocks, ``K`` neighbors.

    Attributes:
        surprise: Cosine distance of each neighbor, nearest first, in standard deviations of the nearest distance from
            its mean, both of normal patches of the product, ``(B, N, L, K)``.
        excess: Logarithm of the nearest distance over the usual distance of that row to other images' patches,
            ``(B, N, L)``.
        products: The products whose rows were searched, ``(B,)`` int64.
    """

    surprise: Tensor
    excess: Tensor
    products: Tensor

    @classmethod
    def of_blocks(cls, answers: Sequence[tuple[Tensor, Tensor]], products: Tensor) -> Self:
        """Join the surprise ``(B, N, K)`` and excess ``(B, N)`` of each block."""
        surprise, excess = (torch.stack(parts, dim=2) for parts in zip(*answers, strict=True))
        return cls(surprise, excess, products)


class PatchMemory(nn.Module):
    """Normal patches of every product.

    Shapes: ``P`` products, ``M`` rows of each in each of ``L`` blocks of width ``W``. A product with fewer rows repeats
    them. Rows are in random order: the ``K`` neighbors of a patch are the nearest row of each of ``K`` equal parts of
    the rows, so that the first is exact and none needs a sort of all. With an index only its candidates are compared,
    which misses the nearest row of few patches.

    Args:
        products: Names of the products, in the order of the tensors.
        rows: ``(L, P, M, W)`` int8, each a unit vector but for a factor; ``M`` is a multiple of ``neighbors``.
        usual: Usual distance of each row to the patches of other images, ``(L, P, M)``.
        distance_mean: Mean nearest distance of normal patches, ``(L, P)``.
        distance_std: Its standard deviation, ``(L, P)``, more than 0.
        centers: Mean descriptor of each product, of unit length, ``(P, D)``.
        neighbors: ``K``.
        indexed: True to build an index.
        inside: Patches that show any of the product's region of interest, ``(P, N)`` bool: others are never surprising.
            ``None`` without regions.
    """

    rows: Tensor
    factors: Tensor
    usual: Tensor
    distance_mean: Tensor
    distance_std: Tensor
    centers: Tensor
    inside: Tensor | None

    def __init__(
        self,
        products: Sequence[str],
        rows: Tensor,
        usual: Tensor,
        distance_mean: Tensor,
        distance_std: Tensor,
        centers: Tensor,
        neighbors: int,
        indexed: bool = False,
        inside: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.products = tuple(products)
        self.neighbors = neighbors
        self.register_buffer("rows", rows)
        lengths = torch.stack([block.float().norm(dim=-1) for block in rows])
        self.register_buffer("factors", 1 / lengths.clamp_min(1e-6), persistent=False)
        self.register_buffer("usual", usual.float())
        self.register_buffer("distance_mean", distance_mean.float())
        self.register_buffer("distance_std", distance_std.float())
        self.register_buffer("centers", centers.float())
        self.index = nn.ModuleList(RowIndex(block, neighbors) for block in rows) if indexed else None
        self.register_buffer("inside", None if inside is None else inside.float(), persistent=False)

    @property
    def blocks(self) -> int:
        """Number of blocks, ``L``."""
        return len(self.rows)

    def forward(self, reading: Reading, products: Tensor, shown: Tensor | None = None) -> Retrieval:
        """Search the rows of each image's product.

        Args:
            reading: Patch tokens ``(B, N, L W)`` of the images.
            products: The product of each image, ``(B,)`` int64.
            shown: Patches that show any of a region of interest, ``(B, N)`` bool, where they are not the product's.
        """
        with torch.autocast(reading.patches.device.type, enabled=False):
            tokens = F.normalize(reading.patches.float().reshape(*reading.patches.shape[:2], self.blocks, -1), dim=-1)
            answers = [self.search(tokens[:, :, block], block, products, shown) for block in range(self.blocks)]
        return Retrieval.of_blocks(answers, products)

    def find_products(self, descriptors: Tensor) -> Tensor:
        """Return the product whose center is nearest to each descriptor ``(B, D)``: ``(B,)`` int64."""
        return (descriptors.float() @ self.centers.T).argmax(dim=-1)

    def search(
        self, tokens: Tensor, block: int, products: Tensor, shown: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Search the rows of one block.

        Args:
            tokens: Unit tokens, ``(B, N, W)``.
            block: Position of the block, from 0.
            products: ``(B,)`` int64.
            shown: As for ``forward``.

        Returns:
            Surprise ``(B, N, K)`` and excess ``(B, N)``, as in ``Retrieval``.
        """
        if self.index is not None:
            candidates: Tensor = self.index[block](tokens, products)
            cosines = self.cosines(tokens, candidates, block, products)
            return self.compare(*nearest_candidates(cosines, candidates), block, products, shown)
        similarity = tokens @ self.rows[block][products].float().transpose(1, 2)
        distances, nearest = nearest_rows(similarity * self.factors[block][products].unsqueeze(1), self.neighbors)
        return self.compare(distances, nearest, block, products, shown)

    def cosines(self, tokens: Tensor, candidates: Tensor, block: int, products: Tensor) -> Tensor:
        """Compute the cosines ``(B, N, K, C)`` of unit tokens ``(B, N, W)`` and each one's candidate rows."""
        places = (candidates + (products * self.rows.shape[2])[:, None, None, None]).flatten()
        rows = self.rows[block].flatten(0, 1)[places].float()
        dots = rows.unflatten(0, (tokens.shape[0], tokens.shape[1], -1)) @ tokens.unsqueeze(3)  # type: ignore[no-untyped-call]
        cosines: Tensor = dots.flatten() * self.factors[block].flatten()[places]
        return cosines.reshape(candidates.shape)

    def compare(
        self,
        distances: Tensor,
        nearest: Tensor,
        block: int,
        products: Tensor,
        shown: Tensor | None = None,
        usual: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compare distances with those of normal patches.

        Args:
            distances: ``(B, N, K)``, ascending.
            nearest: Position of the nearest row, ``(B, N)``.
            block: Position of the block, from 0.
            products: ``(B,)`` int64.
            shown: As for ``forward``.
            usual: Usual distance of each patch's nearest row, ``(B, N)``; ``None`` for the memory's own.

        Returns:
            Surprise ``(B, N, K)`` and excess ``(B, N)``, as in ``Retrieval``.
        """
        if usual is None:
            usual = self.usual[block][products].gather(1, nearest)
        mean, std = (statistic[block][products][:, None, None] for statistic in (self.distance_mean, self.distance_std))
        surprise, excess = (distances - mean) / std, torch.log((distances[..., 0] + EPSILON) / (usual + EPSILON))
        if self.inside is None:
            return surprise, excess
        counts = self.inside[products] if shown is None else shown.float()
        return surprise * counts.unsqueeze(2), excess * counts

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the constructor by name, in the types in which they are stored."""
        halves = {"usual": self.usual.half(), "centers": self.centers.half()}
        return {"rows": self.rows, **halves, "distance_mean": self.distance_mean, "distance_std": self.distance_std}

    @contextmanager
    def without(self, rows: Tensor, usual: Tensor | None = None) -> Iterator[None]:
        """Leave rows out of every search meanwhile: all others are searched, without an index.

        Args:
            rows: The rows, ``(L, P, M)`` bool.
            usual: Usual distances to compare with meanwhile, ``(L, P, M)``; ``None`` for the memory's own.
        """
        before = self.factors, self.index, self.usual
        try:
            self.factors, self.index = self.factors.masked_fill(rows.to(self.factors.device), 0), None
            self.usual = self.usual if usual is None else usual.to(self.usual)
            yield
        finally:
            self.factors, self.index, self.usual = before

    @classmethod
    def from_tensors(
        cls,
        products: Sequence[str],
        tensors: Mapping[str, Tensor],
        neighbors: int,
        indexed: bool = False,
        inside: Tensor | None = None,
    ) -> Self:
        """Rebuild a memory from the result of ``tensors``; ``indexed`` and ``inside`` as for the constructor."""
        centers = F.normalize(tensors["centers"].float(), dim=-1)
        others = {name: tensors[name] for name in ("rows", "usual", "distance_mean", "distance_std")}
        return cls(products, centers=centers, neighbors=neighbors, indexed=indexed, inside=inside, **others)


def nearest_rows(similarity: Tensor, neighbors: int) -> tuple[Tensor, Tensor]:
    """Find the nearest row in each of ``K`` equal parts of the rows.

    Args:
        similarity: Cosines of tokens and rows, ``(B, N, M)``.
        neighbors: ``K``, a divisor of ``M``.

    Returns:
        Cosine distances ``(B, N, K)``, ascending, and the position of the nearest row, ``(B, N)``.
    """
    best, places = similarity.reshape(*similarity.shape[:2], neighbors, -1).max(dim=-1)
    ordered, order = best.topk(neighbors, dim=-1)
    first = order[..., :1]
    nearest = places.gather(2, first) + first * (similarity.shape[2] // neighbors)
    return (1 - ordered).clamp_min(0), nearest.squeeze(2)


def nearest_candidates(cosines: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest candidate of each part, as ``nearest_rows`` does.

    Args:
        cosines: Of tokens and candidates, ``(B, N, K, C)``.
        candidates: Positions of their rows, of the same shape.
    """
    best, places = cosines.max(dim=3)
    ordered, order = best.topk(best.shape[2], dim=2)
    nearest = candidates.gather(3, places.unsqueeze(3)).squeeze(3).gather(2, order[..., :1])
    return (1 - ordered).clamp_min(0), nearest.squeeze(2)


def quantize(rows: Tensor) -> Tensor:
    """Quantize vectors ``(..., W)`` to int8: only their direction is kept, the largest channel becomes 127."""
    largest = rows.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12)
    return (rows / largest * 127).round().to(torch.int8)
