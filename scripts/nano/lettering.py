"""Lettering: capitals and digits as strokes, in lines that are straight or bent around a center."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, log_uniform, per_image, uniform
from nano.draws import hashed

STROKES: dict[str, str] = {
    "A": "06 20 46,14 34",
    "B": "00 06 36 45 44 33 03,33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 44 42 20 00",
    "E": "40 00 06 46,03 33",
    "F": "40 00 06,03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06,40 46,03 43",
    "J": "40 45 36 16 05",
    "K": "00 06,40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "R": "06 00 30 41 42 33 03,23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40,20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "X": "00 46,40 06",
    "Y": "00 23 40,23 26",
    "Z": "00 40 06 46",
    "0": "10 30 41 45 36 16 05 01 10,41 05",
    "1": "02 20 26",
    "2": "01 10 30 41 42 06 46",
    "3": "00 40 23 33 44 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 02 32 43 45 36 06",
    "6": "40 20 02 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10,13 04 05 16 36 45 44 33",
    "9": "06 26 44 41 30 10 01 02 13 43",
    "-": "13 33",
    "/": "06 40",
    " ": "",
}
"""Each sign as polylines over a grid of 5 columns and 7 rows: "column row" of every point, commas between lines."""

ROWS, COLUMNS = 56, 40
"""Samples of a sign's cell, which extends half a grid step beyond the outermost points."""


@cache
def signs() -> Tensor:
    """Return the distance of each sample of a sign's cell to its strokes, in grid steps: ``(signs, ROWS, COLUMNS)``."""
    y = (torch.arange(ROWS) + 0.5) * 8 / ROWS - 1
    x = (torch.arange(COLUMNS) + 0.5) * 6 / COLUMNS - 1
    place = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
    return torch.stack([_distance(place, strokes) for strokes in STROKES.values()])


def _distance(place: Tensor, strokes: str) -> Tensor:
    nearest = torch.full(place.shape[:2], 9.0)
    for stroke in filter(None, strokes.split(",")):
        points = [torch.tensor((float(point[1]), float(point[0]))) for point in stroke.split()]
        for start, end in pairwise(points):
            way = end - start
            along = ((place - start) @ way / (way @ way)).clamp(0, 1)
            nearest = torch.minimum(nearest, (place - start - along[..., None] * way).norm(dim=-1))
    return nearest


def lettering(down: Tensor, across: Tensor, height: Tensor, generator: Generator) -> Tensor:
    """Draw one to three lines of random signs around the origin of a frame.

    Args:
        down: ``(n, H, W)``: position of each pixel in the frame, from top to bottom, in pixels.
        across: ``(n, H, W)``: the same from left to right.
        height: ``(n, 1, 1)``: height of the capitals, in pixels.
        generator: Source of the text, its weight, slant and width.

    Returns:
        Coverage with ink, ``(n, H, W)``, 0..1.
    """
    count = len(down)
    seed = per_image(uniform(1, 2, (count,), generator))
    lines = per_image(integers(1, 3, (count,), generator))
    length = per_image(integers(2, 9, (count,), generator))
    advance = per_image(uniform(0.62, 0.95, (count,), generator)) * height
    leading = 8 / 6 * height * per_image(uniform(1, 1.3, (count,), generator))
    across = across + per_image(uniform(0, 0.3, (count,), generator) * chance(0.3, (count,), generator)) * down
    row = (down / leading + lines / 2).floor()
    smaller = torch.where(row > 0, per_image(uniform(0.6, 1, (count,), generator)), 1.0)
    advance = advance * smaller
    column = (across / advance + length / 2).floor()
    inside = (row >= 0) & (row < lines) & (column >= 0) & (column < length)
    sign = (hashed(row, column, seed) * len(STROKES)).long().clamp(0, len(STROKES) - 1)
    in_row = (down - (row - lines / 2) * leading) / (8 / 6 * height * smaller)
    in_column = (across - (column - length / 2) * advance) / advance
    inside &= (in_row >= 0) & (in_row < 1)
    y, x = (in_row * ROWS).long().clamp(0, ROWS - 1), (in_column * COLUMNS).long().clamp(0, COLUMNS - 1)
    step = height * smaller / 6
    stroke = per_image(log_uniform(0.35, 0.75, (count,), generator)) * step
    away = signs()[sign, y, x] * step
    return (stroke - away + 0.5).clamp(0, 1) * inside


def barcode(down: Tensor, across: Tensor, height: Tensor, generator: Generator) -> Tensor:
    """Draw bars of uneven width in a rectangle around the origin; arguments and result as in ``lettering``."""
    count = len(down)
    pitch = per_image(uniform(1.5, 4, (count,), generator))
    bar = hashed((across / pitch).floor(), torch.zeros_like(across), per_image(uniform(1, 2, (count,), generator)))
    wide = height * per_image(uniform(0.8, 2.5, (count,), generator))
    return (bar < 0.5) * ((down.abs() < height * 0.7) & (across.abs() < wide)).float()
