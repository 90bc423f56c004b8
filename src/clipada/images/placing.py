"""Moving of images into the frame of a reference, and of their maps and masks back."""

from __future__ import annotations

from math import ceil, floor
from typing import Any, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage

from clipada.images.geometry import BAND_PIXELS, resize
from clipada.types import Image, Mask
from clipada.types.placement import Placement, inverted

_REACH = 3
"""Pixels beside a place that an interpolation reads."""

_SMOOTH = 4.0
"""Standard deviation, in pixels of the reference, of the differences in light that are continued."""

_Pixels = TypeVar("_Pixels", bound=NDArray[Any])


def into_reference(image: Image, placement: Placement, reference: Image) -> Image:
    """Move an image ``(H, W, 3)`` so that its part is where the reference shows it, bicubic.

    What the image does not show is taken from the reference, in the light of the image where both meet, so that
    nothing there looks unusual.

    Args:
        image: The image.
        placement: The place of its part.
        reference: The reference, ``(h, w, 3)``, of any size.
    """
    size = image.shape[0], image.shape[1]
    matrix = placement.matrix(size)
    moved = moved_by(image, matrix, PIL.Image.Resampling.BICUBIC)
    covered = moved_by(np.ones(size, bool), matrix, PIL.Image.Resampling.NEAREST)
    if not covered.all():
        _fill(moved, covered, PIL.Image.fromarray(_in_light_of(reference, moved, covered)))
    return moved


def _fill(moved: Image, covered: Mask, picture: PIL.Image.Image) -> None:
    """Fill what is not covered from a picture of any size, a band of rows after the other."""
    height, width = covered.shape
    each, scale = max(1, BAND_PIXELS // width), picture.height / height
    for start in range(0, height, each):
        stop = min(height, start + each)
        if not covered[start:stop].all():
            box = (0, start * scale, picture.width, min(stop * scale, picture.height))
            band = picture.resize((width, stop - start), PIL.Image.Resampling.BICUBIC, box=box)
            np.copyto(moved[start:stop], np.asarray(band), where=~covered[start:stop, :, np.newaxis])


def _in_light_of(reference: Image, moved: Image, covered: Mask) -> Image:
    """Return a reference with the smooth difference of a moved image from it, continued from the covered pixels."""
    height, width = reference.shape[:2]
    nearest = PIL.Image.fromarray(covered).resize((width, height), PIL.Image.Resampling.NEAREST)
    seen = ndimage.binary_erosion(np.asarray(nearest), iterations=2, border_value=1)
    apart = (resize(moved, (height, width)).astype(np.float32) - reference) * seen[..., np.newaxis]
    weight = ndimage.gaussian_filter(seen.astype(np.float32), _SMOOTH)
    smooth = ndimage.gaussian_filter(apart, (_SMOOTH, _SMOOTH, 0)) / np.maximum(weight, 1e-3)[..., np.newaxis]
    rows, columns = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    continued = ndimage.gaussian_filter(smooth[rows, columns], (_SMOOTH, _SMOOTH, 0))
    lit: Image = np.clip(np.rint(reference + continued), 0, 255).astype(np.uint8)
    return lit


def maps_from_reference(maps: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Move maps ``(passes, h, w)`` of the reference's frame onto the image, bilinear; 0 outside of the frame."""
    matrix = inverted(placement.matrix((maps.shape[1], maps.shape[2])))
    return np.stack([moved_by(one, matrix, PIL.Image.Resampling.BILINEAR) for one in maps])


def mask_from_reference(mask: Mask, placement: Placement) -> Mask:
    """Move a mask ``(h, w)`` of the reference's frame onto the image; false outside of the frame."""
    return moved_by(mask, inverted(placement.matrix((mask.shape[0], mask.shape[1]))), PIL.Image.Resampling.NEAREST)


def mask_into_reference(mask: Mask, placement: Placement) -> Mask:
    """Move a mask ``(h, w)`` of an image into the reference's frame; false where the image shows nothing."""
    return moved_by(mask, placement.matrix((mask.shape[0], mask.shape[1])), PIL.Image.Resampling.NEAREST)


def moved_by(values: _Pixels, matrix: NDArray[np.float64], kind: PIL.Image.Resampling) -> _Pixels:
    """Take the value of each pixel from its place by a matrix ``(2, 3)`` of ``(x, y, 1)``; 0 outside of the input.

    A band of rows is moved after the other if the image is large.
    """
    height, width = values.shape[:2]
    moved = np.zeros_like(values)
    each = max(1, BAND_PIXELS // width)
    for start in range(0, height, each):
        stop = min(height, start + each)
        corners = matrix @ np.array([[0, width, 0, width], [start, start, stop, stop], [1, 1, 1, 1]])
        (left, top), (right, bottom) = corners.min(axis=1), corners.max(axis=1)
        first_column, first_row = max(0, floor(left) - _REACH), max(0, floor(top) - _REACH)
        part = values[first_row : max(0, ceil(bottom) + _REACH), first_column : max(0, ceil(right) + _REACH)]
        if part.size:
            offset = matrix @ (0, start, 1) - (first_column, first_row)
            data = np.hstack([matrix[:, :2], offset[:, np.newaxis]]).ravel().tolist()
            picture = PIL.Image.fromarray(np.ascontiguousarray(part))
            moved[start:stop] = picture.transform((width, stop - start), PIL.Image.Transform.AFFINE, data, kind)
    return moved  # type: ignore[no-any-return]
