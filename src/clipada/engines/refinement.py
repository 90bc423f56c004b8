"""The passes of an exported graph, whatever runtime looks: coarse, then refined where it is hot. No PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from clipada.config import Attention

UNSEEN = -1e4
"""Added to an attention score, it leaves nothing of it."""

TOKEN_STEP = 32
"""Numbers of looking tokens are rounded up to multiples of this: runtimes prepare for every new shape."""

Looked = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Every head's map at the tokens that looked, ``(B, P, K)``, values 0..1, with prototypes one row more, which is added
to the maps' logits; and their memory, ``(2 L, B, K, D)``."""


OUTPUTS = ["maps", "looked"]
"""What a graph calls the two parts of ``Looked``."""


class LookInput(TypedDict):
    """What a graph is given. Token 0 is the class token, token ``1 + p`` patch ``p``, rows of the grid in turn.

    Attributes:
        images: RGB, ``(B, S, S, 3)`` uint8.
        gain: What each image is multiplied by, ``(B, S, S)`` float32.
        tokens: Which tokens look, ``(B, K)`` int64.
        memory: Keys and values of every block in turn as an earlier look left them, ``(2 L, B, M, D)`` float32.
        bias: What attention scores for the ``M`` remembered and then the ``K`` looking tokens are raised by,
            ``(B, M + K)`` float32: 0, or ``UNSEEN``.
    """

    images: NDArray[np.uint8]
    gain: NDArray[np.float32]
    tokens: NDArray[np.int64]
    memory: NDArray[np.float32]
    bias: NDArray[np.float32]


Look = Callable[[LookInput], Looked]


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """The sizes of an exported graph.

    Attributes:
        image_size: Side ``S`` of the square it takes, in pixels.
        grid: Rows and columns of patches, ``(h, w)``.
        blocks: Number ``L`` of vision blocks.
        width: Their width ``D``.
        passes: Number ``P`` of maps: the coarse one and the refined ones.
        prototypes: Whether a further row says what the maps' logits are raised by.
    """

    image_size: int
    grid: tuple[int, int]
    blocks: int
    width: int
    passes: int
    prototypes: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens, the class token included."""
        return 1 + self.grid[0] * self.grid[1]


class GraphEngine:
    """Localises anomalies with a look at a time (equation 5): each pass's map says what the next looks at.

    With ``cold_below``, a refinement pass looks with the tokens of hot patches alone. Cold ones are taken as another
    look left them: with residual attention they see nearly the image itself, as in the coarse pass; with the product
    they see a nearly blank image, which is the same for all. A pass without hot patches need not look at all.

    With ``end_below``, an image whose coarse map stays below that value everywhere is not looked at again: its later
    maps are those of cold patches.

    Args:
        look: The exported graph in a runtime.
        shape: Its sizes.
        attention: How a map meets the image.
        streams: A batch is cut into this many parts that are looked at side by side.
        cold_below: A patch whose attention stays below this value, 0..1, counts as cold; at 0 none does.
        end_below: An image whose coarse map stays below this value, 0..1, is not refined; at 0 all are.
    """

    def __init__(
        self,
        look: Look,
        shape: GraphShape,
        *,
        attention: Attention,
        streams: int = 1,
        cold_below: float = 0.0,
        end_below: float = 0.0,
    ) -> None:
        self.image_size = shape.image_size
        self.passes = shape.passes
        self.shape = shape
        self.attention = attention
        self.cold_below = cold_below
        self.end_below = end_below
        self._look = look
        self._streams = streams
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None
        self._blank: Looked | None = None

    def localise_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)``.

        Returns:
            ``(passes, B, S, S)`` float32, values 0..1: ``up(M_i)``, coarse pass first.
        """
        return self.localise_and_count(images)[0]

    def localise_and_count(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The raw maps, as ``localise_passes``, and the share of patches that each refinement pass looked at.

        Returns:
            maps: ``(passes, B, S, S)`` float32.
            refined: ``(passes - 1, B)``, 0..1.
        """
        refined = np.ones((self.passes - 1, len(images)))
        first = self._looked(first_look(images, np.ones(images.shape[:3], np.float32), self.shape))
        small = [first[0][:, 0]]
        coarse = self._upsampled(self._raised(small, first[0])[0])
        going = coarse.max(axis=(1, 2)) >= self.end_below
        for index in range(1, self.passes):
            attention = self._upsampled(small[-1])
            attended = gain(attention, self.attention)
            if self.cold_below or not going.all():
                cold = first if self.attention == "residual" else self._blank_look(len(images))
                hot = hot_patches(attention, self.shape.grid, self.cold_below) & going[:, np.newaxis]
                small.append(self._refined(images, attended, hot, cold, index))
                refined[index - 1] = hot.mean(axis=1)
            else:
                small.append(self._looked(first_look(images, attended, self.shape))[0][:, index])
        return np.stack([self._upsampled(one) for one in self._raised(small, first[0])]), refined

    def _raised(self, small: list[NDArray[np.float32]], first: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Maps at all tokens with what prototypes in the first look's rows add to them, if there are any."""
        if not self.shape.prototypes:
            return small
        return [raised(one, first[:, self.passes]) for one in small]

    def with_shortcut(self, cold_below: float, end_below: float = 0.0) -> GraphEngine:
        """The same engine with other bounds on what counts as cold, and on which images end after the coarse look."""
        other = copy(self)
        other.cold_below, other.end_below = cold_below, end_below
        return other

    def _refined(
        self,
        images: NDArray[np.uint8],
        attended: NDArray[np.float32],
        hot: NDArray[np.bool_],
        cold: Looked,
        index: int,
    ) -> NDArray[np.float32]:
        """A refinement pass's map ``(B, N)``: hot patches look, the rest is as the ``cold`` look left it."""
        small = cold[0][:, index].copy()
        some = hot.any(axis=1)
        if not some.any():
            return small
        images, attended, hot = images[some], attended[some], hot[some]
        if hot.all():
            small[some] = self._looked(first_look(images, attended, self.shape))[0][:, index]
            return small
        looking, memory = looking_tokens(hot), cold[1] if some.all() else cold[1][:, some]
        found = self._looked(hot_look(images, attended, looking, memory, self.shape))[0][:, index]
        refined = small[some]
        for row, (places, values) in enumerate(zip(looking, found, strict=True)):
            refined[row, places] = values[: len(places)]
        small[some] = refined
        return small

    def _blank_look(self, count: int) -> Looked:
        """What a look at ``count`` blank images leaves."""
        if self._blank is None:
            side = self.image_size
            images, black = np.zeros((1, side, side, 3), np.uint8), np.zeros((1, side, side), np.float32)
            self._blank = self._look(first_look(images, black, self.shape))
        maps, memory = self._blank
        return maps.repeat(count, axis=0), memory.repeat(count, axis=1)

    def _looked(self, inputs: LookInput) -> Looked:
        """A look at a batch, cut into one part for each stream."""
        parts = min(self._streams, len(inputs["images"]))
        if self._pool is None or parts < 2:
            return self._look(inputs)
        looks = list(self._pool.map(self._look, _split(inputs, parts)))
        maps, memories = zip(*looks, strict=True)
        return np.concatenate(maps), np.concatenate(memories, axis=1)

    def _upsampled(self, small: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map at every token, ``(B, N)``, as a picture ``(B, S, S)``."""
        return upsample(small[:, 1 : self.shape.tokens].reshape(-1, *self.shape.grid), self.image_size)


def first_look(images: NDArray[np.uint8], factor: NDArray[np.float32], shape: GraphShape) -> LookInput:
    """A look with every token, that remembers nothing.

    One hidden token more makes their number even where it is odd: OpenVINO's int8 products of 258 rows are 6 % faster
    than those of 257.
    """
    count, looking = len(images), shape.tokens + shape.tokens % 2
    tokens = np.zeros((count, looking), np.int64)
    tokens[:, : shape.tokens] = np.arange(shape.tokens)
    bias = np.zeros((count, 1 + looking), np.float32)
    bias[:, [0, *range(1 + shape.tokens, 1 + looking)]] = UNSEEN
    memory = np.zeros((2 * shape.blocks, count, 1, shape.width), np.float32)
    return {"images": images, "gain": factor, "tokens": tokens, "memory": memory, "bias": bias}


def hot_look(
    images: NDArray[np.uint8],
    factor: NDArray[np.float32],
    looking: Sequence[NDArray[np.int64]],
    memory: NDArray[np.float32],
    shape: GraphShape,
) -> LookInput:
    """A look with some tokens of each image, the others remembered.

    Args:
        images: ``(B, S, S, 3)``.
        factor: ``(B, S, S)``.
        looking: The tokens of each image that look.
        memory: ``(2 L, B, N, D)``, of all tokens and of one more if a ``first_look`` had it.
        shape: The graph's sizes.
    """
    width = -(-max(map(len, looking)) // TOKEN_STEP) * TOKEN_STEP
    tokens = np.zeros((len(images), width), np.int64)
    bias = np.full((len(images), memory.shape[2] + width), UNSEEN, np.float32)
    bias[:, : shape.tokens] = 0
    for row, places in enumerate(looking):
        tokens[row, : len(places)] = places
        bias[row, places] = UNSEEN
        bias[row, memory.shape[2] : memory.shape[2] + len(places)] = 0
    return {"images": images, "gain": factor, "tokens": tokens, "memory": memory, "bias": bias}


def hot_patches(heat: NDArray[np.float32], grid: tuple[int, int], cold_below: float) -> NDArray[np.bool_]:
    """The patches of attention maps ``(B, S, S)`` with a pixel that is not cold, ``(B, h * w)``."""
    hot = heat >= cold_below
    for axis, count in enumerate(grid, start=1):
        edges = np.arange(count) * heat.shape[axis] // count
        hot = np.logical_or.reduceat(hot, edges, axis=axis)
    return cast("NDArray[np.bool_]", hot.reshape(len(heat), -1))


def looking_tokens(hot: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """For each row of ``(B, h * w)`` the tokens that look: the class token and those of the hot patches."""
    return [np.concatenate(([0], 1 + np.flatnonzero(row))) for row in hot]


def gain(attention: NDArray[np.float32], kind: Attention) -> NDArray[np.float32]:
    """What a refinement pass's image is multiplied by: ``A`` or ``1 + A``, ``(B, S, S)``."""
    return attention if kind == "product" else np.add(attention, 1, dtype=np.float32)


def raised(maps: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps 0..1 with ``by`` added to their logits: ``sigmoid(logit(m) + by)``, of any shape."""
    hot, cold = maps, (1 - maps) * np.exp(-by.clip(-80, 80))
    return cast("NDArray[np.float32]", hot / np.maximum(hot + cold, np.finfo(np.float32).tiny))


def upsample(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bilinear resize of ``(..., h, w)`` to ``(..., side, side)``, pixel centres aligned as PyTorch does."""
    height, width = maps.shape[-2:]
    return (_weights(height, side) @ maps @ _weights(width, side).T).astype(np.float32, copy=False)


def _split(inputs: LookInput, parts: int) -> list[LookInput]:
    """The inputs of a batch, cut into parts along it."""
    cut = {name: np.array_split(value, parts, axis=name == "memory") for name, value in inputs.items()}  # type: ignore[call-overload]
    return [cast("LookInput", {name: values[part] for name, values in cut.items()}) for part in range(parts)]


@cache
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Bilinear interpolation along one axis as a matrix ``(new, old)``."""
    places = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))).astype(np.float32)
    return weights
