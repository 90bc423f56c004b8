"""The passes of an exported graph in any runtime: one coarse pass, then refinements. No PyTorch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from clipada.config import Attention, EngineOptions
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.engines.passes import (
    GraphShape,
    PassInput,
    PassOutput,
    RuntimePass,
    full_pass_input,
    join_outputs,
    partial_pass_input,
    split_input,
)
from clipada.images.roi import RegionsOfInterest
from clipada.types import Localization


class GraphEngine:
    """Localizes anomalies with one graph that computes all passes (equation 5): each map is the next one's attention.

    A refinement can be shortened in two ways, both off by default:

    - ``inactive_below`` (``--shortcut``): only active patches are query tokens; inactive patches keep keys, values
      and maps of another pass. This is close to the full pass because an inactive patch's input hardly changes: with
      residual attention, ``X (1 + A)``, it is nearly the image, as in the coarse pass; with the product, ``X A``, it is
      nearly black, as in a pass over a blank image, which is the same for all images and is computed once.
    - ``end_below`` (``--cascade``): an image whose coarse map stays below this value everywhere has no active patch.

    Args:
        runtime_pass: The exported graph in a runtime.
        shape: Its sizes.
        attention: Combination of a map with the image.
        streams: Number of parts of a batch that run in parallel.
        inactive_below: A patch is inactive if the attention of all its pixels is below this value, 0..1; at 0 all
            patches are active. ``export.json`` has it as ``cold_below``.
        end_below: An image is not refined if its coarse map is below this value, 0..1, everywhere; at 0 all images
            are refined.
        rules: Rules by which image files are read for it.
    """

    def __init__(
        self,
        runtime_pass: RuntimePass,
        shape: GraphShape,
        *,
        attention: Attention,
        streams: int = EngineOptions.streams,
        inactive_below: float = 0.0,
        end_below: float = 0.0,
        rules: ImageRules = DEFAULT_RULES,
    ) -> None:
        self.size, self.rules = shape.size, rules
        self.regions: RegionsOfInterest | None = None
        self.passes = shape.passes
        self.shape = shape
        self.attention = attention
        self.inactive_below = inactive_below
        self.end_below = end_below
        self.runtime_pass = runtime_pass
        self._streams = streams
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None
        self._blank: PassOutput | None = None

    def localize(self, images: NDArray[np.uint8]) -> Localization:
        """Compute the raw maps of every pass, ``up(M_i)``, and descriptors of images ``(B, H, W, 3)``, RGB."""
        return self.localize_and_count(images)[0]

    def localize_and_count(self, images: NDArray[np.uint8]) -> tuple[Localization, NDArray[np.float64]]:
        """Compute the raw maps as ``localize``, and the share of active patches in each refinement.

        Returns:
            found: As ``localize``.
            refined: ``(passes - 1, B)``, 0..1.
        """
        coarse = self._run(full_pass_input(images, np.ones(images.shape[:3], np.float32), self.shape))
        token_maps = [coarse.maps[:, 0]]
        # The cascade decides by the map that is reported, so it includes the memory offset; attention never does.
        refining = self._final(token_maps[0], coarse).max(axis=(1, 2)) >= self.end_below
        refined = np.ones((self.passes - 1, len(images)))
        for index in range(1, self.passes):
            attention = self._upsampled(token_maps[-1])
            active = self._active(attention, refining)
            token_maps.append(self.refine(images, gain(attention, self.attention), active, coarse, index))
            refined[index - 1] = active.mean(axis=1)
        maps = np.stack([self._final(one, coarse) for one in token_maps])
        return Localization(maps=maps, descriptors=coarse.descriptors), refined

    def with_shortcut(self, inactive_below: float, end_below: float = 0.0) -> GraphEngine:
        """Return the same engine with other thresholds on active patches and refined images."""
        other = copy(self)
        other.inactive_below, other.end_below = inactive_below, end_below
        return other

    def refine(
        self,
        images: NDArray[np.uint8],
        factor: NDArray[np.float32],
        active: NDArray[np.bool_],
        coarse: PassOutput,
        index: int,
    ) -> NDArray[np.float32]:
        """Compute the token map of a refinement in which only active patches and the prefix tokens are queries.

        Args:
            images: RGB, ``(B, H, W, 3)``.
            factor: Factor of each pixel, ``(B, H, W)``.
            active: Active patches, ``(B, h * w)``.
            coarse: Output of the coarse pass.
            index: Number of the pass, from 1.

        Returns:
            ``(B, N)``, values 0..1, ``N`` tokens or one more.
        """
        if active.all():
            return self._full_pass(images, factor, index)
        known = coarse if self.attention == "residual" else self._blank_pass(len(images))
        token_map = known.maps[:, index].copy()
        some = active.any(axis=1)
        if not some.any():
            return token_map
        images, factor, active = images[some], factor[some], active[some]
        if active.all():
            token_map[some] = self._full_pass(images, factor, index)
            return token_map
        kv_cache = known.kv_cache if some.all() else known.kv_cache[:, some]  # indexing would copy 14 MB per image
        queries = query_tokens(active, self.shape.prefix)
        found = self._run(partial_pass_input(images, factor, queries, kv_cache, self.shape)).maps[:, index]
        refined = token_map[some]
        for row, (places, values) in enumerate(zip(queries, found, strict=True)):
            refined[row, places] = values[: len(places)]
        token_map[some] = refined
        return token_map

    def _full_pass(self, images: NDArray[np.uint8], factor: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        """Compute the token map of a pass in which all tokens are queries."""
        return self._run(full_pass_input(images, factor, self.shape)).maps[:, index]

    def _active(self, attention: NDArray[np.float32], refining: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find the active patches ``(B, h * w)`` of attention ``(B, H, W)``; ``refining`` ``(B,)`` excludes images."""
        if not self.inactive_below and refining.all():  # NaN >= 0 is false, but without a shortcut NaN is refined too
            return np.ones((len(attention), self.shape.tokens - self.shape.prefix), np.bool_)
        return active_patches(attention, self.shape.grid, self.inactive_below) & refining[:, np.newaxis]

    def _blank_pass(self, count: int) -> PassOutput:
        """Return the output of a pass over ``count`` blank images, which is computed once."""
        if self._blank is None:
            images, black = np.zeros((1, *self.size, 3), np.uint8), np.zeros((1, *self.size), np.float32)
            self._blank = self.runtime_pass(full_pass_input(images, black, self.shape))
        maps, kv_cache, _ = self._blank
        return PassOutput(maps.repeat(count, axis=0), kv_cache.repeat(count, axis=1))

    def _run(self, inputs: PassInput) -> PassOutput:
        """Run one pass over a batch, cut into one part for each stream."""
        parts = min(self._streams, len(inputs["images"]))
        if self._pool is None or parts < 2:
            return self.runtime_pass(inputs)
        return join_outputs(list(self._pool.map(self.runtime_pass, split_input(inputs, parts))))

    def _final(self, token_map: NDArray[np.float32], coarse: PassOutput) -> NDArray[np.float32]:
        """Add the coarse pass's memory offset, if there is one, to a token map and upsample it to ``(B, H, W)``."""
        if self.shape.prototypes:
            token_map = add_offset(token_map, coarse.maps[:, self.passes])
        return self._upsampled(token_map)

    def _upsampled(self, token_map: NDArray[np.float32]) -> NDArray[np.float32]:
        """Upsample a map at every token, ``(B, N)``, to ``(B, H, W)``."""
        patches = token_map[:, self.shape.prefix : self.shape.tokens]
        return upsample(patches.reshape(-1, *self.shape.grid), self.size)


def active_patches(attention: NDArray[np.float32], grid: tuple[int, int], inactive_below: float) -> NDArray[np.bool_]:
    """Find the patches of attention maps ``(B, H, W)`` with a pixel of ``inactive_below`` or more, ``(B, h * w)``."""
    active = attention >= inactive_below
    for axis, count in enumerate(grid, start=1):
        edges = np.arange(count) * attention.shape[axis] // count
        active = np.logical_or.reduceat(active, edges, axis=axis)
    return cast("NDArray[np.bool_]", active.reshape(len(attention), -1))


def query_tokens(active: NDArray[np.bool_], prefix: int = 1) -> list[NDArray[np.int64]]:
    """List the query tokens of each row of ``(B, h * w)``: those of the prefix and of the active patches."""
    return [np.concatenate((np.arange(prefix), prefix + np.flatnonzero(row))) for row in active]


def gain(attention: NDArray[np.float32], kind: Attention) -> NDArray[np.float32]:
    """Compute the pixels' factor in a refinement, ``A`` or ``1 + A``, ``(B, H, W)``."""
    return attention if kind == "product" else np.add(attention, 1, dtype=np.float32)


def add_offset(maps: NDArray[np.float32], offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add an offset to the logits of maps 0..1: ``sigmoid(logit(m) + offset)``, of any shape.

    Written as ``m / (m + (1 - m) exp(-offset))``, which has no logarithm of 0.
    """
    rest = (1 - maps) * np.exp(-offset.clip(-80, 80))  # exp(89) overflows in float32
    return cast("NDArray[np.float32]", maps / np.maximum(maps + rest, np.finfo(np.float32).tiny))


def upsample(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize ``(..., h, w)`` bilinearly to ``(..., *size)``, with pixel centers aligned as PyTorch does."""
    rows, columns = (_weights(old, new) for old, new in zip(maps.shape[-2:], size, strict=True))
    return (rows @ maps @ columns.T).astype(np.float32, copy=False)


@cache
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Build the matrix ``(new, old)`` of bilinear interpolation along one axis."""
    places = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))).astype(np.float32)
    return weights
