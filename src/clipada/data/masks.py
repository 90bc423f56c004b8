"""Ground-truth masks: interpreted by their values, checked for plausibility, scaled to their image, resized by area."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipada.errors import ImageError
from clipada.images import UPRIGHT, read_levels, read_orientation, resize_mask, turn_on_side
from clipada.types import Mask, Sample

Levels = NDArray[np.generic]

SOFT = "not two-valued, as in a JPEG or with smooth edges: above half of the range is anomalous"
LABELS = "several labels: all but the background are anomalous"
NO_BLACK = "no black: the value of the border is the background"
INVERTED = "inverted, by border and most of the area: the rest is anomalous"
SCALED = "of another size than the image: scaled to it"
TURNED = "drawn on the stored pixels of an image with an EXIF orientation: turned as the image"
NOT_TURNED = "of images with an EXIF orientation: taken as drawn on the upright image"
EMPTY = "empty although the image is anomalous: its pixels do not count"

MOST_LABELS = 16
"""Number of values up to which a mask can hold labels."""

HIGHEST_LABEL = 31
"""Value up to which all values are labels: gray levels of a mask reach further."""

SURE = 0.9
"""Share of the border that must have one value to be taken for the background."""

MOST_BETWEEN = 0.2
"""Share of pixels in the middle half of the range beyond which a file is a picture and no mask."""

FAINT = 0.25
"""Share of the range from which a region without any value above half is anomalous."""

SIZE_ERROR = 2.0
"""Difference of mask and image in pixels of the smaller one, once scaled, that rounding explains."""

SIZE_ERROR_SHARE = 0.05
"""Largest such difference as a share of the side, for tiny masks."""

OnNote = Callable[[str, Path], None]
"""Receives each rule that is applied to a mask beyond "not black is anomalous", and the mask."""


def load_mask(
    sample: Sample, size: int | tuple[int, int], image_size: tuple[int, int], on_note: OnNote = lambda *_: None
) -> Mask | None:
    """Load the ground truth of a sample at the model's input size, resized by area as in ``resize_mask``.

    Args:
        sample: The sample; a normal one gets an all-false mask.
        size: ``(height, width)`` of the model's input, or the side of a square one.
        image_size: The image's own ``(width, height)``, which the mask must fit.
        on_note: As ``OnNote``.

    Returns:
        ``(H, W)`` bool, or ``None`` for an anomalous sample without a mask file, or with an empty one: its pixels are
        unlabeled.

    Raises:
        ImageError: The mask cannot be read or understood, or has another aspect ratio than the image.
    """
    shape = (size, size) if isinstance(size, int) else size
    if not sample.anomalous:
        return np.zeros(shape, np.bool_)
    if not sample.masks:
        return None
    mask = read_mask(sample.masks, sample.path, image_size, on_note)
    if not mask.any():
        on_note(EMPTY, sample.masks[0])
        return None
    return resize_mask(mask, shape)


def read_mask(
    masks: Sequence[Path], image: Path, image_size: tuple[int, int], on_note: OnNote = lambda *_: None
) -> Mask:
    """Read the masks of one image; several are united.

    Args:
        masks: One file or more.
        image: The image, for messages.
        image_size: Its ``(width, height)``.
        on_note: As ``OnNote``.

    Returns:
        ``(H, W)`` bool at the size of the mask, or at that of the image if masks of several sizes are united.

    Raises:
        ImageError: A mask cannot be read or understood, or has another aspect ratio than the image.
    """
    orientation = read_orientation(image)
    read: list[Mask] = []
    for path in masks:
        mask = read_marked(path, on_note)
        if orientation != UPRIGHT and read_orientation(path) == UPRIGHT:
            mask = _turned(mask, path, image_size, orientation, on_note)
        read.append(mask)
        height, width = mask.shape
        if (width, height) != image_size:
            _require_fit(path, (width, height), image, image_size)
            on_note(SCALED, path)
    if len({mask.shape for mask in read}) > 1:
        read = [resize_mask(mask, image_size[::-1]) for mask in read]
    united: Mask = np.logical_or.reduce(read)
    return united


def read_marked(path: Path, on_note: OnNote = lambda *_: None) -> Mask:
    """Read the marked pixels of one mask file, ``(H, W)`` bool, by the rules above; none of a black file.

    Raises:
        ImageError: The file cannot be read, or its values have no clear meaning.
    """
    levels = read_levels(path)
    values = np.unique(levels)
    if values.size == 1:
        if values[0]:
            raise _unclear(path, f"the value {values[0]} everywhere")
        return np.zeros(levels.shape, np.bool_)
    found = _labeled(levels, values, path) if _are_labels(levels, values) else _thresholded(levels, path)
    for note in found.notes:
        on_note(note, path)
    return found.mask


class _Found(NamedTuple):
    """Marked pixels of a mask file, and the rules by which they were found."""

    mask: Mask
    notes: tuple[str, ...]


def _turned(mask: Mask, path: Path, image_size: tuple[int, int], orientation: int, on_note: OnNote) -> Mask:
    """Turn a mask as its image is turned if only then their sizes agree."""
    turned = turn_on_side(mask, orientation)
    if turned is None or mask.shape[::-1] == image_size or turned.shape[::-1] != image_size:
        on_note(NOT_TURNED, path)
        return mask
    on_note(TURNED, path)
    return turned


def _are_labels(levels: Levels, values: Levels) -> bool:
    """Return True if each value has a meaning of its own: two values, low ones, or each in between as a solid area."""
    if values.size > MOST_LABELS:
        return False
    low = values.dtype.kind != "f" and values[-1] <= HIGHEST_LABEL
    return bool(values.size == 2 or low) or all(_solid(levels == one) for one in values[1:-1])


def _solid(mask: Mask) -> bool:
    """Return True if a square of 3 x 3 pixels is true."""
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    return bool(np.any(rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]))


def _labeled(levels: Levels, values: Levels, path: Path) -> _Found:
    """Mark all labels but the background: black, or else the lowest one unless another is that of the border."""
    notes = [] if values[0] == 0 else [NO_BLACK]
    if values.size > 2:
        notes.append(LABELS)
    mask: Mask = levels != values[0]
    if not _is_mostly_marked(mask):
        if values.size > 2 and mask.mean() > 0.5:
            raise _unclear(path, f"{values.size} labels, of which {values[0]} covers less than half")
        return _Found(mask, tuple(notes))
    border = _border(levels)
    labels, counts = np.unique(border, return_counts=True)
    background = labels[counts.argmax()]
    if counts.max() < SURE * border.size or (values.size > 2 and values[0] == 0):
        raise _mostly_marked(mask, path)
    return _Found(levels != background, (*notes, INVERTED))


def _thresholded(levels: Levels, path: Path) -> _Found:
    """Mark what is above half of the range; the contrary if that is clearly the background."""
    values = levels - levels.min().astype(np.float64)
    values /= values.max()
    between = np.count_nonzero(np.abs(values - 0.5) < FAINT) / values.size
    if between > MOST_BETWEEN:
        raise _unclear(path, f"a picture: {between:.0%} of the pixels are neither dark nor bright")
    mask = _above_half(values)
    if not _is_mostly_marked(mask):
        return _Found(mask, (SOFT,))
    if _border(mask).mean() < SURE:
        raise _mostly_marked(mask, path)
    return _Found(_above_half(1 - values), (SOFT, INVERTED))


def _above_half(values: NDArray[np.float64]) -> Mask:
    """Return where values 0..1 exceed 1/2, and regions above ``FAINT`` that nowhere do: thin lines with soft edges."""
    mask: Mask = values > 0.5
    faint: Mask = values > FAINT
    if np.array_equal(mask, faint):
        return mask
    from scipy import ndimage  # slow to import, and most masks are two-valued

    regions, count = ndimage.label(faint, np.ones((3, 3)))
    strong = np.concatenate([[True], ndimage.maximum(mask, regions, np.arange(1, count + 1)) > 0])
    marked: Mask = mask | ~strong[regions]
    return marked


def _is_mostly_marked(mask: Mask) -> bool:
    """Return True if most of the area and most of the border are marked, as in an inverted mask."""
    return bool(mask.mean() > 0.5 and _border(mask).mean() > 0.5)


def _border(values: Levels) -> Levels:
    """Return the pixels of the four edges."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _require_fit(path: Path, size: tuple[int, int], image: Path, image_size: tuple[int, int]) -> None:
    """Raise ``ImageError`` unless a mask has the aspect ratio of its image, but for rounding."""
    smaller, larger = sorted([size, image_size], key=lambda one: one[0] * one[1])
    width = larger[0] * smaller[1] / larger[1]
    error = abs(width - smaller[0])
    if error > min(SIZE_ERROR, SIZE_ERROR_SHARE * smaller[0]):
        raise ImageError(
            f"mask {path} does not match image {image}",
            expected=f"{image_size[0]} x {image_size[1]} pixels, or the same aspect ratio",
            got=f"{size[0]} x {size[1]}",
            remedy="export the mask at the image's own size",
        )


def _mostly_marked(mask: Mask, path: Path) -> ImageError:
    """Return the error for a mask that may be inverted."""
    return _unclear(path, f"{mask.mean():.0%} of the area and {_border(mask).mean():.0%} of the border marked")


def _unclear(path: Path, got: str) -> ImageError:
    """Return the error for a mask whose values can be read in several ways."""
    return ImageError(
        f"mask {path} is not clear",
        expected="0 where the part is normal, one other value where it is anomalous",
        got=got,
        remedy="export the mask in black and white",
    )
