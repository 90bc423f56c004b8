"""One pass of an exported graph: its inputs, its outputs, and its sizes. No PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from clipada.config import ImageSize

MASKED = -1e4
"""Bias that removes a key from attention: its softmax weight is 0 in float32 and in float16."""

QUERY_STEP = 32
"""The number of query tokens is padded to a multiple of this, because runtimes prepare anew for every new shape."""

OUTPUTS = ["maps", "looked", "descriptors"]
"""Names of a graph's outputs, in the order of ``PassOutput``. Graphs of earlier versions have no descriptors."""


class PassInput(TypedDict):
    """Inputs of a graph by name. After the backbone's prefix tokens come the patches in row-major order.

    Shapes: ``B`` images of ``H x W`` pixels, ``K`` query tokens, ``M`` tokens in the KV cache, ``L`` blocks of width
    ``D``.

    Attributes:
        images: RGB, ``(B, H, W, 3)`` uint8.
        gain: Factor of each pixel, ``(B, H, W)`` float32: 1 in the coarse pass, ``A`` or ``1 + A`` in a refinement.
        tokens: Indices of the query tokens, ``(B, K)`` int64. Only these are computed.
        memory: The KV cache: keys and values of each block in turn, as an earlier pass computed them,
            ``(2 L, B, M, D)`` float32.
        bias: Added to the attention scores of the ``M`` cached and then the ``K`` query tokens, ``(B, M + K)``
            float32: 0, or ``MASKED``.
    """

    images: NDArray[np.uint8]
    gain: NDArray[np.float32]
    tokens: NDArray[np.int64]
    memory: NDArray[np.float32]
    bias: NDArray[np.float32]


class PassOutput(NamedTuple):
    """Outputs of a graph.

    Attributes:
        maps: Map of every pass's head at the query tokens, ``(B, P, K)``, values 0..1. With prototypes there is one
            more row: the memory offset, which is added to the logits of the maps.
        kv_cache: Keys and values of the query tokens, ``(2 L, B, K, D)``.
        descriptors: As ``Localization.descriptors``, of a pass in which every token is a query.
    """

    maps: NDArray[np.float32]
    kv_cache: NDArray[np.float32]
    descriptors: NDArray[np.float32] | None = None


RuntimePass = Callable[[PassInput], PassOutput]
"""A graph in its runtime, ready to run one pass."""

RuntimeGraph = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""A graph in its runtime: from its inputs to its outputs by name."""

GraphSizes = dict[str, tuple[int | None, ...]]
"""Shapes of a graph's inputs and outputs by name; ``None`` for an axis of any size."""


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """The sizes of an exported graph.

    Attributes:
        image_size: Side of the input square, or its height and width, in pixels.
        grid: Rows and columns of patches, ``(h, w)``.
        blocks: Number ``L`` of vision blocks.
        width: Their width ``D``.
        passes: Number ``P`` of passes: the coarse one and the refinements.
        prototypes: True if the maps have one more row, the memory offset.
        prefix: Number of tokens before those of the patches.
    """

    image_size: ImageSize
    grid: tuple[int, int]
    blocks: int
    width: int
    passes: int
    prototypes: bool = False
    prefix: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def tokens(self) -> int:
        """Number of tokens, including those of the prefix."""
        return self.prefix + self.grid[0] * self.grid[1]


def as_pass(graph: RuntimeGraph) -> RuntimePass:
    """Return a graph with the inputs and outputs of a pass."""

    def run_pass(inputs: PassInput) -> PassOutput:
        found = graph(cast("Mapping[str, NDArray[Any]]", inputs))
        return PassOutput(*(found[name] for name in OUTPUTS if name in found))

    return run_pass


def full_pass_input(images: NDArray[np.uint8], factor: NDArray[np.float32], shape: GraphShape) -> PassInput:
    """Build the input of a pass in which every token is a query and the KV cache is empty.

    An empty cache still has one masked token, because the graph's sizes start at 1. If the number of tokens is odd, one
    masked query token makes it even: OpenVINO's int8 products of 258 rows are 6 % faster than those of 257.

    Args:
        images: RGB, ``(B, H, W, 3)``.
        factor: Factor of each pixel, ``(B, H, W)``.
        shape: The graph's sizes.
    """
    count, queries = len(images), shape.tokens + shape.tokens % 2
    tokens = np.zeros((count, queries), np.int64)
    tokens[:, : shape.tokens] = np.arange(shape.tokens)
    bias = np.zeros((count, 1 + queries), np.float32)
    bias[:, [0, *range(1 + shape.tokens, 1 + queries)]] = MASKED
    kv_cache = np.zeros((2 * shape.blocks, count, 1, shape.width), np.float32)
    return {"images": images, "gain": factor, "tokens": tokens, "memory": kv_cache, "bias": bias}


def partial_pass_input(
    images: NDArray[np.uint8],
    factor: NDArray[np.float32],
    queries: Sequence[NDArray[np.int64]],
    kv_cache: NDArray[np.float32],
    shape: GraphShape,
) -> PassInput:
    """Build the input of a pass in which some tokens are queries and the others keep their keys and values.

    A query token attends to itself and the other queries as they are now, and to all remaining tokens through the
    cache. Its own outdated entry in the cache is masked.

    Args:
        images: RGB, ``(B, H, W, 3)``.
        factor: Factor of each pixel, ``(B, H, W)``.
        queries: Indices of the query tokens of each image; their number may differ.
        kv_cache: ``(2 L, B, N, D)``, of all tokens, and of the masked one if a full pass had it.
        shape: The graph's sizes.
    """
    width = -(-max(map(len, queries)) // QUERY_STEP) * QUERY_STEP
    tokens = np.zeros((len(images), width), np.int64)
    bias = np.full((len(images), kv_cache.shape[2] + width), MASKED, np.float32)
    bias[:, : shape.tokens] = 0
    for row, places in enumerate(queries):
        tokens[row, : len(places)] = places
        bias[row, places] = MASKED
        bias[row, kv_cache.shape[2] : kv_cache.shape[2] + len(places)] = 0
    return {"images": images, "gain": factor, "tokens": tokens, "memory": kv_cache, "bias": bias}


def split_input(inputs: PassInput, parts: int) -> list[PassInput]:
    """Cut the inputs of a batch into parts along the batch axis."""
    cut = {name: np.array_split(value, parts, axis=name == "memory") for name, value in inputs.items()}  # type: ignore[call-overload]
    return [cast("PassInput", {name: values[part] for name, values in cut.items()}) for part in range(parts)]


def join_outputs(outputs: Sequence[PassOutput]) -> PassOutput:
    """Join the outputs of a batch's parts."""
    maps, caches, descriptors = zip(*outputs, strict=True)
    joined = None if descriptors[0] is None else np.concatenate(descriptors)
    return PassOutput(np.concatenate(maps), np.concatenate(caches, axis=1), joined)
