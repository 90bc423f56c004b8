"""Perturbations of photos: what changes between two days at a camera although the part is good.

All lengths are pixels of the photo itself. Beyond its borders a photo goes on as its mirror image, never in black.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType

import numpy as np
import PIL.Image
from numpy.random import Generator
from numpy.typing import NDArray

from clipada.config.stress import PerturbationKind
from clipada.errors import ImageError
from clipada.types import Image

SPECK = (0.003, 0.008)
"""Smallest and largest radius of a speck, as a share of the photo's shorter side."""

LEAST_RADIUS = 0.6
"""Smallest radius of a speck, in pixels."""

LARGEST_JPEG = 65_500
"""Largest side of a JPEG, in pixels."""

_Floats = NDArray[np.float32]


def perturb(image: Image, kind: PerturbationKind, strength: float, rng: Generator) -> Image:
    """Return a perturbed copy of a photo.

    Args:
        image: ``(H, W, 3)`` uint8; not modified.
        kind: The perturbation.
        strength: Its strength, in the unit of ``PerturbationConfig``.
        rng: Source of what the strength leaves open: directions, noise, places of specks.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ImageError: The photo is too large for a JPEG.
    """
    return _KINDS[kind](image, strength, rng)


def _shift(image: Image, pixels: float, rng: Generator) -> Image:
    height, width, _ = image.shape
    step, (down, right) = round(pixels), ((0, 1), (0, -1), (1, 0), (-1, 0))[rng.integers(4)]
    around = np.pad(image, ((step, step), (step, step), (0, 0)), "symmetric")
    top, left = step - down * step, step - right * step
    return np.ascontiguousarray(around[top : top + height, left : left + width])


def _rotate(image: Image, degrees: float, rng: Generator) -> Image:
    angle = np.radians(degrees) * rng.choice((-1, 1))
    return _warp(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def _zoom(image: Image, percent: float, rng: Generator) -> Image:
    scale = 1 + percent / 100
    return _warp(image, np.eye(2) * (scale if rng.integers(2) else 1 / scale))


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    """Resample a photo, bicubic: the value at ``v`` from its center is the one that was at ``matrix @ v``."""
    height, width, _ = image.shape
    corners = np.array([[width, width, -width, -width], [height, -height, height, -height]]) / 2
    margin = int(np.ceil(np.abs(matrix @ corners - corners).max())) + 3
    around = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
    center = np.array([width, height]) / 2
    offset = center + margin - matrix @ center
    rows = np.column_stack([matrix, offset]).ravel().tolist()
    source = PIL.Image.fromarray(around)
    return np.asarray(source.transform((width, height), PIL.Image.Transform.AFFINE, rows, PIL.Image.Resampling.BICUBIC))


def _blur(image: Image, pixels: float, _: Generator) -> Image:
    from scipy import ndimage  # slow to import

    return _rounded(ndimage.gaussian_filter(image.astype(np.float32), (pixels, pixels, 0)))


def _noise(image: Image, percent: float, rng: Generator) -> Image:
    """Add noise, the same in all channels of a gray photo, whose camera has only one."""
    channels = 1 if _is_gray(image) else 3
    noise = rng.standard_normal((*image.shape[:2], channels), np.float32)
    return _rounded(image + np.float32(2.55 * percent) * noise)


def _jpeg(image: Image, quality: float, _: Generator) -> Image:
    if max(image.shape) > LARGEST_JPEG:
        raise ImageError(
            "the image is too large for a JPEG",
            expected=f"at most {LARGEST_JPEG} pixels a side",
            got=f"{image.shape[1]} x {image.shape[0]}",
            remedy="leave this perturbation out: jpeg=() in the settings, from Python",
        )
    content = BytesIO()
    PIL.Image.fromarray(image).save(content, "JPEG", quality=round(quality))
    with PIL.Image.open(content) as saved:
        return np.array(saved)


def _darker(image: Image, percent: float, _: Generator) -> Image:
    return _rounded(image * np.float32(1 - percent / 100))


def _brighter(image: Image, percent: float, _: Generator) -> Image:
    return _rounded(image * np.float32(1 + percent / 100))


def _white_balance(image: Image, percent: float, rng: Generator) -> Image:
    red = percent / 100 * rng.choice((-1, 1))
    gains = np.array([1 + red, 1, 1 - red], np.float32)
    return image.copy() if _is_gray(image) else _rounded(image * gains)


def _light_gradient(image: Image, percent: float, rng: Generator) -> Image:
    height, width, _ = image.shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in (height, width))
    along = np.cos(angle) * x + np.sin(angle) * y[:, np.newaxis]
    along /= abs(np.cos(angle)) + abs(np.sin(angle))  # from -1/2 in one corner to 1/2 in the opposite one
    return _rounded(image * (1 + percent / 100 * along)[..., np.newaxis].astype(np.float32))


def _dust(image: Image, specks: float, rng: Generator) -> Image:
    """Blend specks with soft edges into a photo."""
    values, side = image.astype(np.float32), min(image.shape[:2])
    for _ in range(round(specks)):
        center = rng.uniform((0, 0), image.shape[:2])
        radius = max(LEAST_RADIUS, rng.uniform(*SPECK) * side)
        gray, opacity = rng.uniform(40, 130), rng.uniform(0.4, 0.8)
        reach = int(np.ceil(3 * radius))
        low = np.maximum(center.astype(int) - reach, 0)
        high = center.astype(int) + reach + 1
        window = values[low[0] : high[0], low[1] : high[1]]
        y, x = np.ogrid[low[0] : low[0] + window.shape[0], low[1] : low[1] + window.shape[1]]
        distance = np.hypot(y + 0.5 - center[0], x + 0.5 - center[1])
        share = (opacity * np.clip(radius + 0.5 - distance, 0, 1))[..., np.newaxis].astype(np.float32)
        window += share * (np.float32(gray) - window)
    return _rounded(values)


def _is_gray(image: Image) -> bool:
    return bool((image == image[..., :1]).all())


def _rounded(values: _Floats) -> Image:
    levels: Image = np.rint(values).clip(0, 255).astype(np.uint8)
    return levels


_KINDS: Mapping[PerturbationKind, Callable[[Image, float, Generator], Image]] = MappingProxyType(
    {
        "shift": _shift,
        "rotate": _rotate,
        "zoom": _zoom,
        "blur": _blur,
        "noise": _noise,
        "jpeg": _jpeg,
        "darker": _darker,
        "brighter": _brighter,
        "white_balance": _white_balance,
        "light_gradient": _light_gradient,
        "dust": _dust,
    }
)
