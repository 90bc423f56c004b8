"""Figures 3 to 5 of the paper: grids of test images, their ground truth, and the anomaly maps of models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from clipada.config.image_rules import rules_of
from clipada.data import Dataset, read_mask
from clipada.errors import ImageError
from clipada.images import read_rgb, resize_mask
from clipada.inspection import Inspector
from clipada.inspection.overlays import BACKGROUND, outlined, picture_size, views
from clipada.types import Image, Sample

log = logging.getLogger(__name__)

SIDE = 192
"""Longer side of a picture, in pixels."""

ROWS = 12
"""Images in a grid, distributed evenly over the categories, with at least one of each."""

_GAP = 6
_TEXT = 15
_INK = (232, 235, 240)


def chosen_samples(dataset: Dataset, seed: int) -> list[Sample]:
    """Draw anomalous test images with masks at random, by ``seed``."""
    chosen: list[Sample] = []
    each = max(1, ROWS // len(dataset.categories))
    for category in dataset.categories:
        members = [one for one in dataset.test if one.category == category and one.mask is not None]
        order = np.random.default_rng([seed, len(members)]).permutation(len(members))
        chosen += [members[place] for place in sorted(order[:each])]
    return chosen


def heat_grid(samples: Sequence[Sample], inspectors: Mapping[str, Inspector]) -> Image | None:
    """Draw a row for each image: the image, the outline of its ground truth, and each model's map as an overlay.

    Args:
        samples: Anomalous images with masks.
        inspectors: Models by the title of their column. Colors are centered on each model's own threshold.

    Returns:
        ``(H, W, 3)`` uint8; ``None`` if no image can be read with its mask.
    """
    heads = ["", "image", "ground truth", *inspectors]
    rows = {}
    for sample in samples:
        try:
            rows[sample] = _row(sample, list(inspectors.values()))
        except ImageError as error:
            log.warning("left out of the grid: %s", error)
    if not rows:
        return None
    return _sheet(heads, [f"{sample.category}\n{sample.defect}" for sample in rows], list(rows.values()))


def _row(sample: Sample, inspectors: Sequence[Inspector]) -> list[Image]:
    image = read_rgb(sample.path, rules_of(inspectors[0].engine))
    size = picture_size((image.shape[0], image.shape[1]), (SIDE, SIDE))
    height, width, _ = image.shape
    mask = np.zeros((height, width), np.bool_)
    if sample.masks:
        mask = resize_mask(read_mask(sample.masks, sample.path, (width, height)), (height, width))
    pictures: list[Image] = []
    for inspector in inspectors:
        found, level = inspector.inspect(image).anomaly_map, inspector.region_level(sample.category)
        plain, heat, _ = views(image, found, level, size)
        pictures = pictures or [plain, outlined(image, mask, size)]
        pictures.append(heat)
    return pictures


def _sheet(heads: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[Image]]) -> Image:
    """Arrange pictures in rows and columns with a title above each column and a name before each row."""
    font = PIL.ImageFont.load_default(_TEXT)
    first = 2 * _GAP + max(round(font.getlength(line)) for name in names for line in name.splitlines())
    width = max(picture.shape[1] for row in rows for picture in row) + _GAP
    heights = [max(picture.shape[0] for picture in row) + _GAP for row in rows]
    top = 2 * _TEXT
    sheet = PIL.Image.new("RGB", (first + width * len(rows[0]), top + sum(heights)), BACKGROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    for place, head in enumerate(heads[1:]):
        draw.text((first + place * width, _TEXT // 2), head, fill=_INK, font=font)
    for name, row, height in zip(names, rows, heights, strict=True):
        draw.text((_GAP, top + _GAP), name, fill=_INK, font=font)
        for place, picture in enumerate(row):
            sheet.paste(PIL.Image.fromarray(picture), (first + place * width, top))
        top += height
    return np.asarray(sheet)
