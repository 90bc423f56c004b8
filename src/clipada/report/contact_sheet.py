"""Contact sheet of training samples, for a person to check what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from clipada.inspection.overlays import draw_outlines, line_width
from clipada.types import Image, Mask

GAP = 8
"""Width of the gap between cells, in pixels."""

TEXT = 14
"""Height of the letters, in pixels."""

LINE = 22
"""Height of a line of text, in pixels."""

PAPER, INK = (238, 240, 244), (27, 31, 39)


@dataclass(frozen=True, kw_only=True)
class SheetSample:
    """One sample.

    Attributes:
        caption: Its product and what was drawn, in a line.
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)``: true where an anomaly was drawn.
    """

    caption: str
    image: Image
    mask: Mask


def contact_sheet(samples: Sequence[SheetSample], title: Sequence[str], columns: int | None = None) -> Image:
    """Arrange samples in a grid, each beside a copy with the outline of its mask, its caption below.

    Args:
        samples: One or more, of one size.
        title: Lines above the grid.
        columns: Number of samples in a row; by default chosen for a nearly square sheet.

    Returns:
        ``(H', W', 3)`` uint8.
    """
    columns = columns or max(1, round(math.sqrt(len(samples) / 2)))
    height, width, _ = samples[0].image.shape
    cell_width, cell_height = 2 * width + GAP // 2 + GAP, height + LINE + GAP
    top, rows = GAP + LINE * len(title), -(-len(samples) // columns)
    sheet = PIL.Image.new("RGB", (columns * cell_width + GAP, top + rows * cell_height), PAPER)
    draw, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(TEXT)
    for number, line in enumerate(title):
        draw.text((GAP, GAP // 2 + number * LINE), _fitting(line, sheet.width - 2 * GAP, font), fill=INK, font=font)
    for number, sample in enumerate(samples):
        row, column = divmod(number, columns)
        x, y = GAP + column * cell_width, top + row * cell_height
        outlined = draw_outlines(sample.image, sample.mask, line_width((height, width)))
        sheet.paste(PIL.Image.fromarray(sample.image), (x, y))
        sheet.paste(PIL.Image.fromarray(outlined), (x + width + GAP // 2, y))
        draw.text((x, y + height + 2), _fitting(sample.caption, cell_width - GAP, font), fill=INK, font=font)
    return np.asarray(sheet)


def _fitting(text: str, width: int, font: PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont) -> str:
    """Shorten a text to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept and font.getlength(f"{text[:kept]}...") > width:
        kept -= 1
    return f"{text[:kept]}..."
