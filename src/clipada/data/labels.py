"""Labels among photos: masks by content, and images that names or masks beside them call defective."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clipada.data.listing import images_in, subfolders
from clipada.data.masks import MOST_LABELS, read_marked
from clipada.data.names import BAD, MASKS, TEST, is_called_defective, is_good, mask_owner, plain
from clipada.data.pairing import match_beside
from clipada.errors import DatasetError, ImageError, ImageKindError
from clipada.images import read_rgb
from clipada.types import Image, Verdict

ANCESTORS = 3
"""Number of folders above an image whose names count."""

SOLID = 0.97
"""Least share of pixels that are as their right neighbor, in a mask."""

EXTREME = 0.9
"""Least share of pixels that are almost black or almost white, in a mask with an uneven black and white."""

EXAMINED = 3
"""Number of images that decide between a folder of masks and one of photos."""

_GRID = 64


def mask_error(verdict: Verdict) -> ImageError | None:
    """Return the error for an inspected image that is a ground-truth mask instead of a photo.

    An image of few flat colors is a mask, unless the input check finds it like the training images: then the product
    looks so. An image that is named as a mask may also be of one color, or have smooth edges.
    """
    named = verdict.path is not None and _is_named_as_mask(verdict.path)
    if not named and verdict.inspectable:
        return None
    if not _has_few_colors(verdict.image, least=1 if named else 2) and not (named and _is_extreme(verdict.image)):
        return None
    return ImageKindError(
        f"{verdict.path or 'the image'} is a ground-truth mask, not a photo",
        expected="photos of parts",
        got="few flat colors" + (f", and the name {Path(*verdict.path.parts[-2:])}" if named and verdict.path else ""),
        remedy="name the folders of photos alone; `clipada evaluate` finds the masks of a data set by itself",
    )


def called_defective(paths: Sequence[Path]) -> list[Path]:
    """Return the images of a folder that their names call defective, where these are some but not all of them."""
    called = [path for path in paths if is_called_defective(path.stem)]
    return called if len(called) < len(paths) else []


def look_like_masks(paths: Sequence[Path]) -> bool:
    """Return True if the first images of a folder can be read and are all of few flat colors."""
    try:
        images = [read_rgb(path) for path in paths[:EXAMINED]]
    except ImageError:
        return False
    return bool(images) and all(_has_few_colors(image, least=1) for image in images)


def refuse_defects(paths: Iterable[Path]) -> None:
    """Refuse images that names, or masks beside them, call masks or defective parts.

    Raises:
        DatasetError: An image is in a folder of masks, of defective parts, or of a kind of defects; or beside masks it
            is a mask, or has one that marks a defect.
    """
    paths = list(paths)
    folders = dict.fromkeys(path.absolute().parent for path in paths)
    beside = {path: got for folder in folders for path, got in _labeled_beside(folder)}
    named = {folder: _named_reason(folder) for folder in folders}
    beside |= {path.absolute(): f"the name {path.name}" for path in called_defective(paths)}
    for path in paths:
        got = named[path.absolute().parent] or beside.get(path.absolute())
        if got is not None:
            raise DatasetError(
                f"{path} does not seem to show a good part",
                expected="images of good parts alone",
                got=got,
                remedy="name the folders of good parts, e.g. part/test/good",
            )


def _named_reason(folder: Path) -> str | None:
    """Return the folder at or above ``folder`` that holds defects or masks, in words; below ``good`` none does."""
    for each in (folder, *folder.parents)[:ANCESTORS]:
        if is_good(each.name):
            return None
        if plain(each.name) in BAD | MASKS or _is_kind_of_defect(each):
            return f"folder {each}"
    return None


def _is_kind_of_defect(folder: Path) -> bool:
    """Return True for a folder beside ``good`` in a test split, or with a folder of masks of its name."""
    around = folder.parent
    if plain(around.name) in TEST and any(is_good(each.name) for each in _folders(around)):
        return True
    masks = (each for each in (*_folders(around), *_folders(around.parent)) if plain(each.name) in MASKS)
    return any((each / folder.name).is_dir() for each in masks)


def _folders(folder: Path) -> list[Path]:
    """List the subfolders; none if the folder cannot be listed."""
    try:
        return subfolders(folder)
    except DatasetError:
        return []


def _labeled_beside(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the masks in a folder, and the images whose masks there mark a defect, each with the finding."""
    try:
        images = match_beside(images_in(folder)).images
    except DatasetError:
        return
    for image in images:
        try:
            marked = sum(read_marked(mask).any() for mask in image.masks)  # all of them must be masks
        except ImageError:  # no mask, but for example the same picture in another format
            continue
        yield from ((mask, f"a mask of {image.path.name}") for mask in image.masks)
        if marked:
            yield image.path, f"a defect by its mask {image.masks[0].name}"


def _is_named_as_mask(path: Path) -> bool:
    """Return True if a file ends like a mask, or is in a folder of masks."""
    folders: Sequence[Path] = path.absolute().parents[:ANCESTORS]
    return mask_owner(path.stem) is not None or any(plain(folder.name) in MASKS for folder in folders)


def _has_few_colors(image: Image, *, least: int) -> bool:
    """Return True for an image ``(H, W, 3)`` of ``least`` to ``MOST_LABELS`` colors in solid areas."""
    height, width, _ = image.shape
    if _count_colors(image[:: -(-height // _GRID), :: -(-width // _GRID)]) > MOST_LABELS:
        return False
    if not least <= _count_colors(image) <= MOST_LABELS:
        return False
    same = np.all(image[:, 1:] == image[:, :-1], axis=2)
    return width == 1 or float(same.mean()) >= SOLID


def _count_colors(image: Image) -> int:
    codes = image.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    return int(np.unique(codes).size)


def _is_extreme(image: Image) -> bool:
    """Return True for a gray image that is almost everywhere almost black or white: a mask saved as JPEG."""
    low, high = image.min(axis=2), image.max(axis=2)
    black, white = high < 16, low >= 240
    extreme = bool(black.any() and white.any() and (black | white).mean() >= EXTREME)
    return extreme and int((high - low).max()) < 16
