"""Frames of a line that has gone wrong, made from a good image."""

import numpy as np
import PIL.Image
import PIL.ImageFilter

from clipada.types import Image


def broken_frames(good: Image, other: Image) -> dict[str, Image]:
    """Frames ``(H, W, 3)`` uint8 that say nothing on the part in ``good``; ``other`` shows another product."""
    rng, picture = np.random.default_rng(0), PIL.Image.fromarray(good)
    height, width, _ = good.shape
    half = good.copy()
    half[height // 2 :] = 0
    small = picture.resize((max(2, width // 16), max(2, height // 16)))
    return {
        "lamp off": np.zeros_like(good),
        "white": np.full_like(good, 255),
        "no part": np.full_like(good, 90),
        "dark noise": np.repeat(rng.normal(8, 3, (height, width, 1)).clip(0, 255).astype(np.uint8), 3, 2),
        "12 of 16 bits": good // 16,
        "half the light": good // 3,
        "overexposed": np.minimum(good.astype(int) * 4, 255).astype(np.uint8),
        "out of focus": np.asarray(small.resize((width, height))),
        "half a frame": half,
        "high gain": (good + rng.normal(0, 40, good.shape)).clip(0, 255).astype(np.uint8),
        "random": rng.integers(0, 256, good.shape).astype(np.uint8),
        "red light": good * np.array([1, 0, 0], np.uint8),
        "another product": other,
    }
