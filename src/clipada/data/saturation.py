"""Saturation of MVTec LOCO AD: how much of a defect has to be found, by the value of its mask.

A logical anomaly has no certain outline: of a missing part, any of its possible places may be marked. So each kind of
defect has a saturation threshold: a region counts as found whole once so many of its pixels are found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipada.data.masks import read_mask
from clipada.errors import DatasetError, ImageError
from clipada.images import read_levels, resize_mask
from clipada.types import Mask, Sample


class Saturation(NamedTuple):
    """An entry of ``defects_config.json``.

    Attributes:
        threshold: Pixels that have to be found; if it is ``relative``, their share of the region.
        relative: True for a share.
    """

    threshold: float
    relative: bool

    def share(self, area: int) -> float:
        """Return the share of a region of ``area`` pixels that has to be found: above 0, up to 1."""
        pixels = int(self.threshold * area) if self.relative else min(self.threshold, area)
        return min(1.0, max(1, pixels) / area)


class SaturatedRegion(NamedTuple):
    """A defect in an image: its mask ``(H, W)``, and the share of its area that has to be found, above 0, up to 1."""

    mask: Mask
    share: float


def read_saturation(path: Path) -> dict[int, Saturation]:
    """Read ``defects_config.json``: the saturation of each value of a mask.

    Raises:
        DatasetError: The file is no list of such entries.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        return {int(entry["pixel_value"]): _saturation(entry) for entry in entries}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"cannot use the saturation thresholds in {path}",
            expected="a list of entries with pixel_value, saturation_threshold above 0, relative_saturation",
            got=str(error) if not isinstance(error, KeyError) else f"no {error}",
            remedy="unpack the data set's own file again, or remove it to evaluate without sPRO",
        ) from error


def load_regions(
    sample: Sample, saturations: Mapping[int, Saturation], size: tuple[int, int], image_size: tuple[int, int]
) -> tuple[SaturatedRegion, ...]:
    """Load the defects of an image, one of each mask file, resized as in ``load_mask``.

    Args:
        sample: The sample; a normal one has none.
        saturations: As ``read_saturation`` returns them.
        size: ``(height, width)`` of the masks.
        image_size: The image's own ``(width, height)``.

    Raises:
        ImageError: A mask cannot be read, or has a value without a saturation.
    """
    found = []
    for path in sample.masks:
        mask = read_mask([path], sample.path, image_size)
        if area := int(mask.sum()):
            share = saturations[_value(path, saturations)].share(area)
            found.append(SaturatedRegion(resize_mask(mask, size), share))
    return tuple(found)


def _saturation(entry: Mapping[str, float]) -> Saturation:
    saturation = Saturation(float(entry["saturation_threshold"]), bool(entry["relative_saturation"]))
    if not saturation.threshold > 0:
        raise ValueError(f"a threshold of {saturation.threshold:g}")
    return saturation


def _value(path: Path, saturations: Mapping[int, Saturation]) -> int:
    """Return the value of the marked pixels of a mask file."""
    values = np.unique(read_levels(path)).tolist()
    marked = [int(value) for value in values if value]
    if len(marked) != 1 or marked[0] not in saturations:
        raise ImageError(
            f"mask {path} names no kind of defect",
            expected="0 and one of the values " + ", ".join(map(str, sorted(saturations))),
            got=", ".join(map(str, values[:6])),
            remedy="use the data set's own masks and defects_config.json",
        )
    return marked[0]
