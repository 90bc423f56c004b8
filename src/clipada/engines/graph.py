"""The passes of an exported graph, whatever runtime looks: coarse, then refined where it is hot. No PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from clipada.config import Attention

Look = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
"""From images ``(B, S, S, 3)`` uint8 and gain ``(B, S, S)`` to every head's map ``(B, P, h, w)``, values 0..1."""


class LookInput(TypedDict):
    """What a graph is given.

    Attributes:
        images: RGB, ``(B, S, S, 3)`` uint8.
        gain: What each image is multiplied by, ``(B, S, S)`` float32.
    """

    images: NDArray[np.uint8]
    gain: NDArray[np.float32]


class GraphEngine:
    """Localises anomalies with a look at a time (equation 5): each pass's map says what the next looks at.

    A pass whose attention stays below ``cold_below`` everywhere need not look. With residual attention it would see
    nearly the image itself, which the coarse pass has looked at already: its head reads those tokens. With the product
    it would see a nearly blank image, whose map is the same for all.

    Args:
        look: The exported graph in a runtime.
        image_size: Side ``S`` of the square it takes, in pixels.
        passes: Number ``P`` of maps: the coarse one and the refined ones.
        attention: How a map meets the image.
        streams: A batch is cut into this many parts that are looked at side by side.
        cold_below: Attention below this value, 0..1, counts as cold; 0 looks every time.
    """

    def __init__(
        self,
        look: Look,
        *,
        image_size: int,
        passes: int,
        attention: Attention,
        streams: int = 1,
        cold_below: float = 0.0,
    ) -> None:
        self.image_size = image_size
        self.passes = passes
        self.attention = attention
        self.cold_below = cold_below
        self._look = look
        self._streams = streams
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None
        self._blank: NDArray[np.float32] | None = None

    def localise_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)``.

        Returns:
            ``(passes, B, S, S)`` float32, values 0..1: ``up(M_i)``, coarse pass first.
        """
        first = self._looked(images, np.ones(images.shape[:3], np.float32))
        maps = np.empty((self.passes, *images.shape[:3]), np.float32)
        maps[0] = upsample(first[:, 0], self.image_size)
        for index in range(1, self.passes):
            small = self._unseen(first)[:, index].copy() if self.cold_below else np.empty_like(first[:, index])
            hot = maps[index - 1].max(axis=(1, 2)) >= self.cold_below
            if hot.any():
                small[hot] = self._looked(images[hot], gain(maps[index - 1][hot], self.attention))[:, index]
            maps[index] = upsample(small, self.image_size)
        return maps

    def with_shortcut(self, cold_below: float) -> GraphEngine:
        """The same engine with another bound on what counts as cold."""
        other = copy(self)
        other.cold_below = cold_below
        return other

    def _unseen(self, first: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every head's maps where a pass need not look, ``(B, P, h, w)``."""
        if self.attention == "residual":
            return first
        if self._blank is None:
            side = self.image_size
            self._blank = self._look(np.zeros((1, side, side, 3), np.uint8), np.zeros((1, side, side), np.float32))
        blank: NDArray[np.float32] = np.broadcast_to(self._blank, first.shape)
        return blank

    def _looked(self, images: NDArray[np.uint8], factor: NDArray[np.float32]) -> NDArray[np.float32]:
        """A look at a batch, cut into one part for each stream."""
        parts = min(self._streams, len(images))
        if self._pool is None or parts < 2:
            return self._look(images, factor)
        looks = self._pool.map(self._look, np.array_split(images, parts), np.array_split(factor, parts))
        return np.concatenate(list(looks))


def gain(attention: NDArray[np.float32], kind: Attention) -> NDArray[np.float32]:
    """What a refinement pass's image is multiplied by: ``A`` or ``1 + A``, ``(B, S, S)``."""
    return attention if kind == "product" else np.add(attention, 1, dtype=np.float32)


def upsample(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bilinear resize of ``(..., h, w)`` to ``(..., side, side)``, pixel centres aligned as PyTorch does."""
    height, width = maps.shape[-2:]
    return (_weights(height, side) @ maps @ _weights(width, side).T).astype(np.float32, copy=False)


@cache
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Bilinear interpolation along one axis as a matrix ``(new, old)``."""
    places = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))).astype(np.float32)
    return weights
