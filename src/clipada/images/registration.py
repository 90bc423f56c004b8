"""Registration: the place of a part in an image, found by comparing it with a reference.

Both are compared as gray images of at most 256 pixels a side without their slow changes of brightness, so that light
and background count little. A cross-correlation of small copies proposes places, of all turns for a pose, and a
Gauss-Newton search on larger ones refines them, to about a tenth of a pixel. The fit is the normalized correlation of
both over the pixels that both show: 1 for equal images up to brightness and contrast, about 0 for unrelated ones.

Measured on five products of MVTec AD: good parts have a fit of 0.45 to 0.98 with another good part of their product,
parts of another product at most 0.44, noise at most 0.22.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import fft, ndimage

from clipada.types import Image
from clipada.types.placement import Placement, similarity

Gray = NDArray[np.float32]
"""Gray image, ``(h, w)``."""

SIDE = 256
"""Longer side of the images that are compared, in pixels."""

MOST_SHIFT = 0.3
"""Largest shift that is looked for, as a share of a side."""

LEAST_SHOWN = 0.4
"""Least share of the reference that an image must show."""

MOST_SCALE = 1.25
"""Largest scale that is accepted, and the inverse of the smallest one."""

_SHRINKS = (4, 2, 1)
"""Factors by which images are smaller, where places are proposed, then refined."""

_TURN = 5
"""Degrees between proposed turns."""

_PROPOSED, _REFINED = 4, 2
"""Proposed places, and the best of them that are refined further."""

_FINE, _WIDE = 1.0, 16.0
"""Standard deviations, in pixels of the full size, between which details are kept."""

_STEPS = 12
"""Most steps of a refinement on one size."""

_ENOUGH = 0.01
"""Change in pixels and degrees below which a refinement has converged."""

Motion = Literal["shift", "pose"]
"""Motion that is looked for: a shift alone, or a shift, a turn and a scale."""


class _Pose(NamedTuple):
    """Shift in pixels, degrees, and the logarithm of the scale."""

    right: float
    down: float
    degrees: float = 0.0
    growth: float = 0.0

    def matrix(self, size: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the map from places in the reference to those in the image, ``(2, 3)``."""
        return similarity((size[0], size[1]), self.right, self.down, self.degrees, float(np.exp(self.growth)))


@dataclass(frozen=True)
class Details:
    """The details of a gray image, to be compared with those of another one of the same size.

    Attributes:
        gray: The gray image, ``(h, w)`` float32.
    """

    gray: Gray

    @classmethod
    def of(cls, image: Image) -> Details:
        """Take the details of an RGB image ``(h, w, 3)`` uint8."""
        return cls(np.asarray(PIL.Image.fromarray(image).convert("L"), np.float32))

    @cached_property
    def levels(self) -> tuple[Gray, ...]:
        """The details at a quarter, half and full size."""
        return tuple(_details(self.gray, shrink) for shrink in _SHRINKS)

    @cached_property
    def turned(self) -> list[tuple[int, NDArray[np.complex64], float]]:
        """Degrees, spectrum and norm of the smallest copy in all turns."""
        return [(degrees, *_turned(self.levels[0], degrees)) for degrees in range(0, 360, _TURN)]


def compared_size(width: int, height: int) -> tuple[int, int]:
    """Return height and width at which an image is compared, of the same aspect."""
    scale = SIDE / max(width, height)
    return max(16, round(height * scale)), max(16, round(width * scale))


def register(reference: Details, image: Details, motion: Motion) -> Placement:
    """Find the part of a reference in an image of the same size, in its pixels.

    Returns:
        The best place that was found; its fit is 0 if there is none.
    """
    places = sorted(_rough(reference, image, motion), reverse=True)[:_REFINED]
    found = (_refined(reference, image, pose, motion) for _, pose in places)
    fit, pose = max((one for one in found if one is not None), default=(0.0, _Pose(0.0, 0.0)))
    size = image.gray.shape[0], image.gray.shape[1]
    degrees = (pose.degrees + 180) % 360 - 180
    return Placement(
        size=size, right=pose.right, down=pose.down, degrees=degrees, scale=float(np.exp(pose.growth)), fit=fit
    )


def _rough(reference: Details, image: Details, motion: Motion) -> Iterator[tuple[float, _Pose]]:
    """Yield places at the smallest size, with their fit."""
    first, second = reference.levels[0], image.levels[0]
    for pose in _proposed(reference.turned if motion == "pose" else reference.turned[:1], second):
        near = _searched(first, second, pose, motion)
        if near is not None:
            yield _fit(first, second, near), near


def _refined(reference: Details, image: Details, pose: _Pose, motion: Motion) -> tuple[float, _Pose] | None:
    """Refine a place from the smallest size to the full one; return its fit and the place there."""
    for before, first, second in zip(reference.levels, reference.levels[1:], image.levels[1:], strict=False):
        down, right = first.shape[0] / before.shape[0], first.shape[1] / before.shape[1]
        found = _searched(first, second, pose._replace(right=pose.right * right, down=pose.down * down), motion)
        if found is None:
            return None
        pose = found
    return _fit(reference.levels[-1], image.levels[-1], pose), pose


def _proposed(turned: Sequence[tuple[int, NDArray[np.complex64], float]], image: Gray) -> list[_Pose]:
    """Return the places of the highest cross-correlation with a turned reference, one for each turn, best first."""
    height, width = image.shape
    down, right = int(MOST_SHIFT * height), int(MOST_SHIFT * width)
    spectrum, padded = fft.rfft2(image, _padded(image.shape)), _padded(image.shape)
    found = []
    for degrees, one, norm in turned:
        correlation: Gray = fft.irfft2(spectrum * one, padded)
        near = np.roll(correlation, (down, right), (0, 1))[: 2 * down + 1, : 2 * right + 1] / max(norm, 1e-6)
        row, column = np.unravel_index(near.argmax(), near.shape)
        found.append((float(near[row, column]), _Pose(float(column - right), float(row - down), float(degrees))))
    return [pose for _, pose in sorted(found, reverse=True)[:_PROPOSED]]


def _searched(reference: Gray, image: Gray, pose: _Pose, motion: Motion) -> _Pose | None:
    """Search from a place for that of the highest fit nearby, by Gauss-Newton; ``None`` if there is none."""
    free = 4 if motion == "pose" else 2
    for _ in range(_STEPS):
        step = _step(reference, image, pose, free)
        if step is None:
            return None
        pose = _Pose(*(value + float(one) for value, one in zip(pose, np.pad(step, (0, 4 - free)), strict=True)))
        if max(abs(pose.right) / image.shape[1], abs(pose.down) / image.shape[0]) > 1.1 * MOST_SHIFT:
            return None
        if np.abs(step[:3]).max() < _ENOUGH:
            break
    return pose if abs(pose.growth) <= np.log(MOST_SCALE) else None


def _step(reference: Gray, image: Gray, pose: _Pose, free: int) -> NDArray[np.float64] | None:
    """Return a step of Gauss-Newton, ``(free,)``; ``None`` where the images have too little in common."""
    moved, both = _moved(image, pose)
    if both.mean() < LEAST_SHOWN:
        return None
    one, other = _centered(reference[both]), _centered(moved[both])
    power = float(other @ other)
    gain = float(one @ other) / power if power > 0 else 0.0
    if gain <= 0:
        return None
    slopes = _slopes(moved, pose, free, both)
    slopes = gain * (slopes - slopes.mean(axis=0))
    normal = slopes.T @ slopes
    normal += 1e-6 * np.trace(normal) / free * np.eye(free)
    solved: NDArray[np.float64] = np.linalg.solve(normal, slopes.T @ (one - gain * other))
    return solved


def _slopes(moved: Gray, pose: _Pose, free: int, both: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the change of the moved image's pixels with each parameter of the pose, ``(n, free)``."""
    height, width = moved.shape
    turn = pose.matrix(moved.shape)[:, :2]
    along_y, along_x = (np.gradient(moved, axis=axis)[both] for axis in (0, 1))
    right, down = np.linalg.inv(turn).T @ np.stack([along_x, along_y])
    rows, columns = np.nonzero(both)
    x, y = turn @ np.stack([columns + 0.5 - width / 2, rows + 0.5 - height / 2])
    every = np.stack([right, down, np.deg2rad(down * x - right * y), right * x + down * y], axis=1)
    slopes: NDArray[np.float64] = every[:, :free]
    return slopes


def _fit(reference: Gray, image: Gray, pose: _Pose) -> float:
    """Return the normalized correlation of a reference and the moved image, -1 to 1, where both show something."""
    moved, both = _moved(image, pose)
    if both.mean() < LEAST_SHOWN:
        return 0.0
    one, other = _centered(reference[both]), _centered(moved[both])
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms > 0 else 0.0


def _moved(image: Gray, pose: _Pose) -> tuple[Gray, NDArray[np.bool_]]:
    """Return an image moved into the frame of the reference, and the pixels there that it shows."""
    data = pose.matrix(image.shape).ravel().tolist()
    size = image.shape[1], image.shape[0]
    affine, flat = PIL.Image.Transform.AFFINE, PIL.Image.fromarray(np.ones(image.shape, np.float32))
    moved = PIL.Image.fromarray(image).transform(size, affine, data, PIL.Image.Resampling.BILINEAR)
    shown = flat.transform(size, affine, data, PIL.Image.Resampling.NEAREST)
    return np.asarray(moved), np.asarray(shown) > 0


def _centered(values: Gray) -> NDArray[np.float64]:
    centered: NDArray[np.float64] = values.astype(np.float64) - values.mean(dtype=np.float64)
    return centered


def _details(gray: Gray, shrink: int) -> Gray:
    """Return the details of a gray image at a smaller size."""
    height, width = gray.shape
    size = max(8, round(width / shrink)), max(8, round(height / shrink))
    small = np.asarray(PIL.Image.fromarray(gray).resize(size, PIL.Image.Resampling.BOX))
    fine = ndimage.gaussian_filter(small, max(0.7, _FINE / shrink), mode="nearest")
    details: Gray = fine - ndimage.gaussian_filter(small, _WIDE / shrink, mode="nearest")
    return details


def _turned(details: Gray, degrees: float) -> tuple[NDArray[np.complex64], float]:
    """Return the conjugate spectrum of an image that is turned about its center, and its norm."""
    turned, _ = _moved(details, _Pose(0.0, 0.0, -degrees))
    spectrum: NDArray[np.complex64] = np.conj(fft.rfft2(turned, _padded(details.shape)))
    return spectrum, float(np.linalg.norm(turned))


def _padded(size: tuple[int, ...]) -> tuple[int, int]:
    """Return a size at which no shift wraps around."""
    return fft.next_fast_len(2 * size[0], real=True), fft.next_fast_len(2 * size[1], real=True)
