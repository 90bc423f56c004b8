"""Pool of images with synthetic anomalies of every kind, drawn on a product's good images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.models.filter import SCALE
from clipada.synthesis import KINDS, AnomalyKind, draw_anomaly
from clipada.synthesis.affine import warp
from clipada.training.view_regions import ViewRegions

AT_ONCE = 16
"""Images of a batch."""

TRIES = 20
"""Most draws of an anomaly until one shows in a region of interest."""

MASK_SHARE = 0.5
"""Share of a cell's pixels from which the cell counts as anomalous; the most covered cell always does."""


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """Images with synthetic anomalies.

    Attributes:
        images: ``(b, H, W, 3)`` uint8.
        sources: Position of the good image that each was drawn on, ``(b,)`` int64.
        masks: ``(b, 4 h, 4 w)`` bool: anomalous cells of the filter's map.
    """

    images: NDArray[np.uint8]
    sources: Tensor
    masks: Tensor


def draw_pool(
    own: NDArray[np.uint8],
    products: Mapping[str, NDArray[np.uint8]],
    count: int,
    grid: tuple[int, int],
    rng: np.random.Generator,
    regions: ViewRegions | None = None,
) -> Iterator[DrawnImages]:
    """Draw ``count`` images with one anomaly each, all kinds in turn.

    Args:
        own: Good images of the product, ``(n, H, W, 3)``.
        products: Good images of all products, whose parts and textures are pasted.
        count: Number of images.
        grid: Token grid ``(h, w)``.
        rng: Source of all draws.
        regions: Regions of interest in ``own``: anomalies end at their borders; ``None`` if all of each image counts.
    """
    kinds, names = list(KINDS), list(products)
    for start in range(0, count, AT_ONCE):
        images, sources, masks = [], [], []
        for number in range(start, min(count, start + AT_ONCE)):
            source = int(rng.integers(len(own)))
            others = products[names[int(rng.integers(len(names)))]]
            other = others[int(rng.integers(len(others)))]
            inside = None if regions is None else regions[source]
            image, mask = _drawn_inside(kinds[number % len(kinds)], _unit(own[source]), _unit(other), rng, inside)
            images.append(np.rint(255 * image).astype(np.uint8).transpose(1, 2, 0))
            sources.append(source)
            masks.append(cell_mask(torch.from_numpy(mask), grid))
        yield DrawnImages(images=np.stack(images), sources=torch.tensor(sources), masks=torch.stack(masks))


def _drawn_inside(
    kind: AnomalyKind,
    image: NDArray[np.float32],
    other: NDArray[np.float32],
    rng: np.random.Generator,
    inside: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw an anomaly that shows in the region of interest; after ``TRIES`` without one, the image stays good."""
    if inside is None:
        return draw_anomaly(kind, image, other, rng)
    for _ in range(TRIES):
        drawn, mask = draw_anomaly(kind, image, other, rng)
        if (mask & inside).any():
            return np.where(inside, drawn, image), mask & inside
    return image, np.zeros_like(inside)


def disturbed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a good image as another day may show it: moved, turned, in other light, a little blurred or noisy.

    Args:
        image: ``(H, W, 3)`` uint8.
        rng: Source of all draws.
    """
    angle, zoom = np.radians(rng.uniform(-4, 4)), rng.uniform(0.97, 1.03)
    shift = rng.uniform(-0.04, 0.04, 2)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = torch.tensor([[[cosine, -sine, shift[0]], [sine, cosine, shift[1]]]], dtype=torch.float32)
    values = warp(torch.from_numpy(_unit(image))[None], matrix, "reflection")[0].numpy()
    mean = values.mean()
    values = (values - mean) * rng.uniform(0.85, 1.15) + mean * rng.uniform(0.85, 1.15)
    values = values * (1 + 0.04 * rng.standard_normal((3, 1, 1)))
    blur = rng.uniform(-0.5, 0.8)
    if blur > 0.2:
        values = scipy.ndimage.gaussian_filter(values, (0, blur, blur))
    values = values + rng.uniform(0, 0.015) * rng.standard_normal(values.shape)
    levels: NDArray[np.uint8] = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    return levels.transpose(1, 2, 0)


def cell_mask(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reduce a mask ``(H, W)`` to the cells of the filter's map, ``(4 h, 4 w)`` bool; no anomaly vanishes."""
    shares = F.adaptive_avg_pool2d(mask[None, None].float(), (SCALE * grid[0], SCALE * grid[1]))[0, 0]
    limit = min(MASK_SHARE, float(shares.max()))
    return (shares >= limit) & (shares > 0)


def _unit(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert ``(H, W, 3)`` uint8 to ``(3, H, W)`` float32 of range 0..1."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
