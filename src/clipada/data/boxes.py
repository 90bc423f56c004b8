"""Boxes around defects, read from files in COCO's format beside the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipada.errors import DatasetError
from clipada.files import open_regular, parse_json
from clipada.types import Box, Mask


def boxes_in(folder: Path) -> dict[Path, tuple[Box, ...]]:
    """Read the boxes in all JSON files directly inside a folder, by the image file that each file names.

    Raises:
        DatasetError: A file is not in COCO's format, or a box is none.
    """
    found: dict[Path, list[Box]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        for name, box in _read(path):
            found[folder / name].append(box)
    return {path: tuple(boxes) for path, boxes in found.items()}


def box_mask(boxes: Sequence[Box], size: tuple[int, int]) -> Mask:
    """Return the area of boxes in an image of ``size`` (height, width), ``(H, W)`` bool: a pixel each at least."""
    height, width = size
    mask = np.zeros(size, np.bool_)
    for left, top, right, bottom in boxes:
        first_row, first_column = min(height - 1, int(top * height)), min(width - 1, int(left * width))
        rows = slice(first_row, max(first_row + 1, round(bottom * height)))
        mask[rows, first_column : max(first_column + 1, round(right * width))] = True
    return mask


def _read(path: Path) -> list[tuple[str, Box]]:
    """Read the boxes of a file, each with the name of its image."""
    try:
        with open_regular(path) as file:
            content = parse_json(file.read().decode())
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    try:
        images = {image["id"]: image for image in content["images"]}
        annotations = list(content["annotations"])
    except (KeyError, TypeError) as error:
        raise _unusable(path, "no list of images with ids, or none of annotations") from error
    return [_annotated(path, images, number, one) for number, one in enumerate(annotations, start=1)]


def _annotated(path: Path, images: dict[Any, Any], number: int, annotation: Any) -> tuple[str, Box]:
    """Return the name of an annotation's image and its box."""
    try:
        return _box(path, images[annotation["image_id"]], annotation["bbox"])
    except KeyError as error:
        raise _unusable(path, f"annotation {number}, for which {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise _unusable(path, f"annotation {number}: {error}") from error


def _box(path: Path, image: dict[str, Any], box: Sequence[float]) -> tuple[str, Box]:
    """Return the name of an image and a box as shares of it."""
    left, top, width, height = (float(value) for value in box)
    across, down = float(image["width"]), float(image["height"])
    shares = np.array([left / across, top / down, (left + width) / across, (top + height) / down])
    if not (np.isfinite(shares).all() and width > 0 and height > 0):
        raise _unusable(path, f"the box {list(box)} in {image['file_name']}")
    inside = shares.clip(0, 1)
    if not (inside[2] > inside[0] and inside[3] > inside[1]):
        raise _unusable(path, f"the box {list(box)} outside of {image['file_name']}, {across:g} x {down:g} pixels")
    return str(image["file_name"]), (float(inside[0]), float(inside[1]), float(inside[2]), float(inside[3]))


def _unusable(path: Path, got: str) -> DatasetError:
    """Return the error for a file that cannot be used."""
    return DatasetError(
        f"cannot use the boxes in {path}",
        expected="COCO's format: images with id, file_name, width, height; annotations with image_id and bbox",
        got=got,
        remedy="export the boxes as COCO, or move the file elsewhere",
    )
