"""Index of the rows of a memory: finds, with few channels, the rows that may be nearest. Beyond the paper.

The cosine of a token ``t`` and a row ``r`` is, but for what depends on the token alone, ``(t - m) . (r - m) + m . r``
with the rows' mean ``m``. The first principal directions of the rows hold most of the first product, so that it is
nearly that of a few channels: a quarter of the multiplications of an exact search. The best row of a group of rows is a
candidate where its group is among the best; candidates are then compared exactly.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 96
"""Channels of a token and a row in the index: the principal directions, and one for the row's own summand."""

GROUP = 32
"""Rows of a group."""

CANDIDATES, LEAST_CANDIDATES = 16, 2
"""Candidates in all parts of the rows together, and the least in each; each is the best of its group."""

_HIDDEN = -1e4
"""Summand of a row that is never a candidate."""


class RowIndex(nn.Module):
    """Index of the rows of one block.

    Shapes: ``P`` products, ``M`` rows of each in ``K`` equal parts, of width ``W``; ``G`` groups of ``g`` rows in a
    part, ``D`` channels of the index, ``C`` candidates in a part.

    A row that repeats another one of its part is no candidate, so that the candidates do not change if rows are
    repeated.

    Args:
        rows: ``(P, M, W)`` int8, as ``PatchMemory`` keeps them.
        parts: ``K``.
    """

    mean: Tensor
    directions: Tensor
    coarse: Tensor

    def __init__(self, rows: Tensor, parts: int) -> None:
        super().__init__()
        self.size = rows.shape[1] // parts
        self.groups = -(-self.size // GROUP)
        self.candidates = min(max(LEAST_CANDIDATES, CANDIDATES // parts), self.groups)
        built = [self._of_product(own, parts) for own in rows]
        for name, values in zip(("mean", "directions", "coarse"), zip(*built, strict=True), strict=True):
            self.register_buffer(name, torch.stack(values), persistent=False)

    def forward(self, tokens: Tensor, products: Tensor) -> Tensor:
        """Find the candidates of unit tokens ``(B, N, W)`` of images of ``products`` ``(B,)``.

        Returns:
            Positions of rows, ``(B, N, K, C)`` int64.
        """
        projected = (tokens - self.mean[products].unsqueeze(1)) @ self.directions[products]
        queries = F.pad(projected, (0, 1), value=1.0).transpose(1, 2)
        parts = self.coarse[products].unbind(1)
        found = [number * self.size + self._best(part @ queries) for number, part in enumerate(parts)]
        candidates: Tensor = torch.stack(found, dim=1).permute(0, 3, 1, 2)
        return candidates

    def _best(self, scores: Tensor) -> Tensor:
        """Return the best row of each of the best groups of a part, ``(B, C, N)``, of scores ``(B, G g, N)``."""
        grouped = scores.unflatten(1, (self.groups, GROUP))  # type: ignore[no-untyped-call]
        groups = grouped.amax(dim=2).topk(self.candidates, dim=1).indices
        members = grouped.gather(1, groups.unsqueeze(2).expand(-1, -1, GROUP, -1))
        best: Tensor = (groups * GROUP + members.argmax(dim=2)).clamp_max(self.size - 1)
        return best

    def _of_product(self, rows: Tensor, parts: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean ``(W,)``, directions ``(W, D - 1)`` and coarse rows ``(K, G g, D)`` of a product's rows."""
        units = F.normalize(rows.float(), dim=-1)
        distinct = torch.zeros(len(rows), dtype=torch.bool)
        for number, part in enumerate(rows.chunk(parts)):
            distinct[number * self.size + first_places(part)] = True
        mean = units[distinct].mean(dim=0)
        centered = units - mean
        directions = torch.linalg.eigh(centered[distinct].T @ centered[distinct]).eigenvectors[:, 1 - CHANNELS :]
        summand = (units @ mean).masked_fill(~distinct, _HIDDEN)
        coarse = torch.cat([centered @ directions, summand.unsqueeze(1)], dim=1).unflatten(0, (parts, self.size))  # type: ignore[no-untyped-call]
        padded = F.pad(coarse, (0, 0, 0, self.groups * GROUP - self.size))
        padded[:, self.size :, -1] = _HIDDEN
        return mean, directions, padded


def index_recall(rows: Tensor, parts: int, tokens: Tensor) -> float:
    """Measure the share of tokens whose nearest row is among the candidates of an index, 0..1.

    Args:
        rows: ``(M, W)`` int8.
        parts: ``K``, a divisor of ``M``.
        tokens: Unit tokens, ``(n, W)``.
    """
    cosines = tokens @ F.normalize(rows.float(), dim=-1).T
    places = RowIndex(rows.unsqueeze(0), parts)(tokens.unsqueeze(0), torch.zeros(1, dtype=torch.int64))[0].flatten(1)
    return float((cosines.gather(1, places).amax(dim=1) >= cosines.amax(dim=1)).float().mean())


def first_places(rows: Tensor) -> Tensor:
    """Return the positions of the rows ``(m, W)`` int8 that repeat none before them, ascending."""
    whole = np.ascontiguousarray(rows.cpu().numpy()).view(f"V{rows.shape[1]}").ravel()
    return torch.from_numpy(np.sort(np.unique(whole, return_index=True)[1]))
