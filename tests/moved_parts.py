"""Images of a part, and of the same part moved and turned, as a camera sees it."""

import numpy as np
import PIL.Image

from clipada.images.placing import moved_by
from clipada.types import Placement
from clipada.types.placement import inverted


def part(seed: int = 0, height: int = 240, width: int = 320) -> np.ndarray:
    """A part of blobs on an even background, unlike itself in any other turn."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.full((height, width), 200.0)
    for _ in range(14):
        row, column = rng.uniform(0.25, 0.75, 2) * (height, width)
        near = np.hypot(rows - row, columns - column) < rng.uniform(6, 22)
        image[near] = rng.uniform(20, 180)
    return np.repeat(image.astype(np.uint8)[..., np.newaxis], 3, axis=2)


def placed(image: np.ndarray, placement: Placement, seed: int = 0) -> np.ndarray:
    """The part as a camera sees it elsewhere, on the same background, with noise."""
    back = inverted(placement.matrix(placement.size))
    seen = moved_by(image, back, PIL.Image.Resampling.BICUBIC)
    shown = moved_by(np.ones(placement.size, bool), back, PIL.Image.Resampling.NEAREST)
    seen[~shown] = 200
    noise = np.random.default_rng(seed).normal(0, 3, seen.shape)
    return np.clip(seen + noise, 0, 255).astype(np.uint8)
