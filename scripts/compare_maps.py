"""Draw the maps of several runs beside the same test images: photo with its ground truth, then the heat of each run.

    python scripts/compare_maps.py DATA RUN [RUN ...] --out docs/images/maps.webp [--kinds metal/scratch ...]

The first test image of each kind is drawn, so that none is picked for its looks. Heat is relative to the level at which
a run marks regions, as in an inspection.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from clipada import Inspector
from clipada.data import load_dataset, load_mask
from clipada.images import read_rgb
from clipada.inspection.overlays import outlined, views
from clipada.types import Image, Sample

SIDE, GAP, LINE = 224, 8, 24
PAPER, INK = (255, 255, 255), (31, 35, 40)


def main() -> None:
    """Parse, inspect and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", help="PRODUCT/KIND; by default every kind of every product")
    given = parser.parse_args()
    samples = first_of_each_kind(load_dataset(given.data).test, given.kinds)
    columns = [pictured(Inspector.load(run), samples) for run in given.runs]
    photos = [photo(sample) for sample in samples]
    captions = [f"{sample.category}: {sample.defect.replace('_', ' ')}" for sample in samples]
    sheet = arrange([photos, *columns], ["photo", *(run.name for run in given.runs)], captions)
    PIL.Image.fromarray(sheet).save(given.out, "WEBP", quality=86, method=6)
    print(f"{given.out}: {len(samples)} images, {len(given.runs)} runs")


def first_of_each_kind(samples: Sequence[Sample], kinds: Sequence[str] | None) -> list[Sample]:
    """Return the first sample of each kind, in the order of ``kinds`` if they are named."""
    first: dict[str, Sample] = {}
    for sample in sorted(samples, key=lambda sample: str(sample.path)):
        first.setdefault(f"{sample.category}/{sample.defect}", sample)
    return list(first.values()) if kinds is None else [first[kind] for kind in kinds]


def photo(sample: Sample) -> Image:
    """Read a photo and draw the outline of its ground truth."""
    image = read_rgb(sample.path)
    height, width = image.shape[:2]
    mask = load_mask(sample, (height, width), (width, height))
    return outlined(image, np.zeros((height, width), np.bool_) if mask is None else mask, (SIDE, SIDE))


def pictured(inspector: Inspector, samples: Sequence[Sample]) -> list[Image]:
    """Inspect the images and return their heat."""
    verdicts = [inspector.inspect(sample.path) for sample in samples]
    return [views(one.image, one.anomaly_map, one.threshold, (SIDE, SIDE))[1] for one in verdicts]


def arrange(columns: Sequence[Sequence[Image]], heads: Sequence[str], captions: Sequence[str]) -> Image:
    """Arrange columns of pictures below their heads, with a caption below each row."""
    step = SIDE + LINE + GAP
    size = (GAP + len(columns) * (SIDE + GAP), LINE + GAP + len(captions) * step)
    sheet, font = PIL.Image.new("RGB", size, PAPER), PIL.ImageFont.load_default(15)
    draw = PIL.ImageDraw.Draw(sheet)
    for number, (head, column) in enumerate(zip(heads, columns, strict=True)):
        x = GAP + number * (SIDE + GAP)
        draw.text((x, 4), head, fill=INK, font=font)
        for row, picture in enumerate(column):
            sheet.paste(PIL.Image.fromarray(picture).resize((SIDE, SIDE)), (x, LINE + GAP + row * step))
    for row, caption in enumerate(captions):
        draw.text((GAP, LINE + GAP + row * step + SIDE + 2), caption, fill=INK, font=font)
    return np.asarray(sheet)


if __name__ == "__main__":
    main()
