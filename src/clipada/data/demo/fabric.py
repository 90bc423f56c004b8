"""Woven fabric: plain weave of warp and weft threads, flat on a dark table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from clipada.data.demo.camera import Surface, mixed
from clipada.data.demo.drawing import (
    SIDE,
    Field,
    Point,
    X,
    Y,
    curve,
    grain,
    line,
    ramp,
    rough_noise,
    smooth_noise,
    spot,
    turned,
)
from clipada.data.demo.product import Product

PERIOD = 6.6
"""Pixels from one thread to the next."""

WARP = np.array((0.16, 0.24, 0.36), dtype=np.float32)
WEFT = np.array((0.42, 0.46, 0.48), dtype=np.float32)
TABLE = np.array((0.018, 0.017, 0.016), dtype=np.float32)

THREADS = 96
"""Number of threads in each direction; more than are visible."""


@dataclass(frozen=True)
class Weave:
    """Piece of fabric.

    Attributes:
        across: Position of each pixel across the warp threads, in threads.
        along: Position across the weft threads, in threads.
        warp: ``(THREADS, 3)``: color of each warp thread.
        weft: ``(THREADS, 3)``: color of each weft thread.
        fuzz: Fine brightness variation of the fibers.
        warp_gone: Missing share of the warp threads, 0..1, per pixel.
        weft_gone: Missing share of the weft threads, 0..1, per pixel.
    """

    across: Field = field(repr=False)
    along: Field = field(repr=False)
    warp: NDArray[np.float32] = field(repr=False)
    weft: NDArray[np.float32] = field(repr=False)
    fuzz: Field = field(repr=False)
    warp_gone: Field | float = 0.0
    weft_gone: Field | float = 0.0


def draw(rng: Generator) -> Weave:
    """Draw a piece of fabric, slightly rotated and distorted."""
    period = PERIOD * rng.uniform(0.97, 1.03)
    across, along = (
        position / period
        + THREADS / 2
        + rng.uniform(-4, 4)
        + 0.25 * smooth_noise(rng, 110)
        + 0.035 * smooth_noise(rng, 9)
        for position in turned((SIDE / 2, SIDE / 2), math.radians(rng.normal(0, 2)))
    )
    return Weave(
        across=across,
        along=along,
        warp=_thread_colors(rng, WARP),
        weft=_thread_colors(rng, WEFT),
        fuzz=0.07 * grain(rng) + 0.05 * smooth_noise(rng, 3) + 0.02 * smooth_noise(rng, 40),
    )


def surface(weave: Weave) -> Surface:
    """Return the surface of the weave: at each crossing one thread passes over the other."""
    i, j = np.floor(weave.across), np.floor(weave.along)
    u, v = weave.across - i - 0.5, weave.along - j - 0.5
    over = np.where((i + j) % 2 == 0, np.float32(1), np.float32(-1))
    warp = _thread(u, v, over) - 9 * weave.warp_gone
    weft = _thread(v, u, -over) - 9 * weave.weft_gone
    top = np.maximum(warp, weft)
    color = np.where((warp > weft)[..., None], weave.warp[_index(i)], weave.weft[_index(j)])
    twist = 0.10 * np.sin(2 * math.pi * np.where(warp > weft, 1.5 * v + u, 1.5 * u + v))
    lit = (1 + weave.fuzz + twist) * ramp(top, -1.3, 1.1)
    cloth = color * np.clip(lit, 0, None)[..., None]
    height = np.clip(top, -1.2, None)
    return Surface(mixed(cloth, TABLE * (1 + weave.fuzz[..., None]), ramp(top, -1.2, -2.2)), height)


def broken_thread(weave: Weave, rng: Generator) -> Surface:
    """Remove one or two threads over a length; their loose ends stick out."""
    center, length = _place(rng, 40), rng.uniform(26, 90)
    width, lengthwise = int(rng.integers(1, 3)), rng.random() < 0.5
    first, second = (weave.across, weave.along) if lengthwise else (weave.along, weave.across)
    x, y = int(center[0]), int(center[1])
    thread = np.floor(first[y, x])
    inside = (first >= thread) & (first < thread + width) & (np.abs(second - second[y, x]) < length / PERIOD / 2)
    gone = inside.astype(np.float32)
    torn = surface(replace(weave, warp_gone=gone) if lengthwise else replace(weave, weft_gone=gone))
    color = (WARP if lengthwise else WEFT) * 1.25
    for side in (-1, 1):
        end = (center[0], center[1] + side * length / 2) if lengthwise else (center[0] + side * length / 2, center[1])
        torn = _laid_on(torn, line(curve(rng, end, rng.uniform(0, math.pi), rng.uniform(8, 20), 2.5), 2.4), color, 2.0)
    return torn


def hole(weave: Weave, rng: Generator) -> Surface:
    """Tear a hole with frayed threads around and across its rim."""
    depth = spot(rng, _place(rng, 40), rng.uniform(7, 24), roughness=0.3, stretch=rng.uniform(1, 1.6))
    frays = rng.normal(0, 3.2, (2, THREADS)).astype(np.float32)
    warp = ramp(depth + frays[0][_index(np.floor(weave.across))], -0.5, 1.5)
    weft = ramp(depth + frays[1][_index(np.floor(weave.along))], -0.5, 1.5)
    pull = 0.35 * np.exp(-((depth / 7) ** 2)) * smooth_noise(rng, 14)
    return surface(replace(weave, across=weave.across + pull, along=weave.along - pull, warp_gone=warp, weft_gone=weft))


def stain(weave: Weave, rng: Generator) -> Surface:
    """Soak an area with oil, coffee or dye, darker at its rim."""
    clean = surface(weave)
    depth = spot(rng, _place(rng, 34), rng.uniform(10, 40), roughness=0.35, stretch=rng.uniform(1, 1.8))
    depth = depth + 2.5 * rough_noise(rng, 12)
    tints = ((0.30, 0.24, 0.17), (0.50, 0.36, 0.18), (0.28, 0.28, 0.30), (0.62, 0.30, 0.26))
    tint = np.array(tints[rng.integers(len(tints))], dtype=np.float32)
    soaked = ramp(depth, -1, 4) * (0.78 + 0.22 * np.exp(-((depth - 2.5) ** 2) / 6))
    return replace(clean, color=mixed(clean.color, clean.color * tint, soaked))


def pulled_weave(weave: Weave, rng: Generator) -> Surface:
    """Pull threads together along a line, with gaps beside it: a snag."""
    (x, y), upright = _place(rng, 50), rng.random() < 0.5
    length, reach = rng.uniform(18, 42), rng.uniform(12, 18)
    along, across = (Y - y, X - x) if upright else (X - x, Y - y)
    across = across + 3 * smooth_noise(rng, 40)
    line_of_pull = np.exp(-((along / length) ** 4))
    drawn = rng.uniform(1.2, 1.9) * line_of_pull * np.exp(-((across / reach) ** 2)) * np.tanh(across / 6)
    lifted = rng.uniform(2, 4) * line_of_pull * np.exp(-((across / 5) ** 2))
    if upright:
        bunched = surface(replace(weave, across=weave.across + drawn))
    else:
        bunched = surface(replace(weave, along=weave.along + drawn))
    return replace(bunched, height=bunched.height + lifted)


def foreign_fiber(weave: Weave, rng: Generator) -> Surface:
    """Put a hair, a red yarn or a bright lint fiber on the cloth."""
    kinds = (
        ((0.02, 0.015, 0.01), 1.5),
        ((0.42, 0.03, 0.03), 2.4),
        ((0.80, 0.78, 0.72), 2.2),
        ((0.05, 0.22, 0.08), 2.4),
    )
    color, width = kinds[rng.integers(len(kinds))]
    points = curve(rng, _place(rng, 50), rng.uniform(0, math.pi), rng.uniform(35, 120), rng.uniform(2, 6))
    return _laid_on(surface(weave), line(points, width), np.array(color, dtype=np.float32), 2.6)


def colored_thread(weave: Weave, rng: Generator) -> Surface:
    """Dye one to three neighboring threads, over a length or from edge to edge."""
    colors = ((0.55, 0.10, 0.06), (0.02, 0.02, 0.025), (0.72, 0.55, 0.12), (0.80, 0.80, 0.78))
    color, lengthwise = np.array(colors[rng.integers(len(colors))], dtype=np.float32), rng.random() < 0.5
    x, y = (int(value) for value in _place(rng, 50))
    first, second = (weave.across, weave.along) if lengthwise else (weave.along, weave.across)
    thread, reach = int(first[y, x]), rng.uniform(5, 30)
    wrong = slice(thread, thread + int(rng.integers(1, 4)))
    table = (weave.warp if lengthwise else weave.weft).copy()
    table[wrong] = color
    dyed, clean = surface(replace(weave, warp=table) if lengthwise else replace(weave, weft=table)), surface(weave)
    return replace(clean, color=np.where((np.abs(second - second[y, x]) < reach)[..., None], dyed.color, clean.color))


FABRIC = Product(
    "fabric",
    draw,
    surface,
    {
        "broken_thread": broken_thread,
        "coloured_thread": colored_thread,
        "foreign_fibre": foreign_fiber,
        "hole": hole,
        "pulled_weave": pulled_weave,
        "stain": stain,
    },
)


def _thread(position: Field, length: Field, over: Field) -> Field:
    """Return the height of a thread: round across its width (``position``, -0.5..0.5), a wave along its length."""
    crown = 1.3 * np.sqrt(np.clip(1 - (2 * position / 0.96) ** 2, 0, None))
    gap = 1.5 * (np.abs(position) > 0.47).astype(np.float32)
    height: Field = crown + 0.9 * over * np.cos(math.pi * length) - gap
    return height


def _thread_colors(rng: Generator, color: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw colors that differ slightly between threads and between pieces."""
    shades = color * (1 + rng.normal(0, 0.07, (THREADS, 1))) * (1 + rng.normal(0, 0.02, 3))
    return shades.astype(np.float32)


def _index(thread: Field) -> NDArray[np.intp]:
    return np.clip(thread, 0, THREADS - 1).astype(np.intp)


def _laid_on(cloth: Surface, cover: Field, color: NDArray[np.float32], height: float) -> Surface:
    """Put a fiber on the cloth: its color and its height, and thus its shadow."""
    return Surface(mixed(cloth.color, color, cover), np.maximum(cloth.height, cover * (2 + height)))


def _place(rng: Generator, margin: float) -> Point:
    """Draw a point at least ``margin`` pixels from the picture's edge."""
    x, y = rng.uniform(margin, SIDE - margin, 2)
    return float(x), float(y)
