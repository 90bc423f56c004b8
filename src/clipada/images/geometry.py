"""Resizing of images, masks and maps."""

from __future__ import annotations

import numpy as np
import PIL.Image

from clipada.types import Image, Map, Mask


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resize ``(H, W, 3)`` uint8 to ``size`` (height, width): bicubic and antialiased, like CLIP's preprocessing."""
    height, width = size
    return np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BICUBIC))


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize ``(H, W)`` bool to ``size`` (height, width): each new pixel takes the old one at its center."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size, strict=True))
    return mask[np.ix_(rows, columns)]


def restore_map(anomaly_map: Map, size: tuple[int, int]) -> Map:
    """Resize a map ``(h, w)`` float32 to an image's own ``size`` (height, width), bilinear.

    Values never leave the range of the input.
    """
    height, width = size
    resized = PIL.Image.fromarray(anomaly_map).resize((width, height), PIL.Image.Resampling.BILINEAR)
    restored: Map = np.asarray(resized).clip(anomaly_map.min(), anomaly_map.max())
    return restored
