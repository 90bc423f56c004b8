"""Nine scored tablets in the pockets of a plastic tray, each on a dark suction cup that it hides."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from clipada.data.demo.camera import Color, Surface, mixed
from clipada.data.demo.drawing import (
    SIDE,
    WHOLE,
    Field,
    Point,
    Window,
    X,
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

PITCH, POCKET, RADIUS, CUP = 78.0, 34.0, 27.0, 23.0
"""Distance between pockets and radii of a pocket, of a tablet and of the cup below it, in pixels."""

CREAM = (0.78, 0.74, 0.64)
PLASTIC = (0.10, 0.20, 0.27)
RUBBER = (0.02, 0.02, 0.022)


@dataclass(frozen=True)
class Tablet:
    """Tablet in a tray.

    Attributes:
        center: Center of the tablet.
        turn: Direction of the score line, in radians.
        radius: Radius in pixels.
        color: Linear red, green and blue.
        length: Length over width; 1 is round.
        scored: True if it has a score line.
    """

    center: Point
    turn: float
    radius: float = RADIUS
    color: tuple[float, float, float] = CREAM
    length: float = 1.0
    scored: bool = True

    def window(self) -> Window:
        """Return the square that contains the tablet."""
        reach, (x, y) = int(self.radius * self.length) + 3, self.center
        return np.s_[max(0, int(y) - reach) : int(y) + reach + 1, max(0, int(x) - reach) : int(x) + reach + 1]

    def depth(self, window: Window = WHOLE) -> Field:
        """Return each pixel's signed distance to the outline, in pixels: above 0 inside, below 0 outside."""
        along, across = turned(self.center, self.turn, window)
        straight = np.clip(np.abs(along) - self.radius * (self.length - 1), 0, None)
        depth: Field = self.radius - np.hypot(straight, across)
        return depth

    def height(self, window: Window) -> Field:
        """Return the height of the rounded edge, the slightly domed face and the score line, in pixels."""
        depth = self.depth(window)
        body: Field = 5 * ramp(depth, -0.8, 6) + 1.5 * np.clip(depth / self.radius, 0, 1)
        if self.scored:
            across = turned(self.center, self.turn, window)[1]
            body = body - 1.6 * np.exp(-((across / 1.5) ** 2)) * ramp(depth, 2, 5)
        return body


@dataclass(frozen=True)
class Tray:
    """Tray with tablets.

    Attributes:
        tablets: Tablets in the pockets.
        plastic: ``(H, W, 3)``: color of the tray and its cups.
        pockets: Height of the tray, in pixels; pockets are lower.
        powder: Fine brightness variation of pressed powder.
    """

    tablets: tuple[Tablet, ...]
    plastic: Color = field(repr=False)
    pockets: Field = field(repr=False)
    powder: Field = field(repr=False)


def draw(rng: Generator) -> Tray:
    """Draw a slightly rotated tray with randomly rotated tablets."""
    corner, askew = rng.normal(SIDE / 2, 2.5, 2).tolist(), math.radians(rng.normal(0, 1.2))
    red, green, blue = (np.array(CREAM) * rng.normal(1, 0.01, 3) * rng.uniform(0.95, 1.05)).tolist()
    pockets, cups, tablets = np.zeros_like(X), np.zeros_like(X), []
    for row, column in itertools.product((-1, 0, 1), repeat=2):
        x = corner[0] + PITCH * (column * math.cos(askew) - row * math.sin(askew))
        y = corner[1] + PITCH * (column * math.sin(askew) + row * math.cos(askew))
        pocket = Tablet((x, y), 0, radius=POCKET + 3)
        depth = pocket.depth(pocket.window())
        lip = ramp(depth, POCKET + 3 - CUP, POCKET + 5 - CUP)
        pockets[pocket.window()] -= 4 * ramp(depth, 0, 5) - 2 * lip + 5 * ramp(depth, 22, 28)
        cups[pocket.window()] += lip
        place = (x + rng.normal(0, 1.6), y + rng.normal(0, 1.6))
        tablets.append(Tablet(place, rng.uniform(0, math.pi), color=(red, green, blue)))
    shade = 1 + 0.03 * grain(rng) + 0.02 * smooth_noise(rng, 25)
    powder = 1 + 0.025 * grain(rng) + 0.03 * smooth_noise(rng, 2.5) + 0.015 * smooth_noise(rng, 30)
    plastic = mixed(np.full((SIDE, SIDE, 3), PLASTIC, dtype=np.float32), RUBBER, cups)
    return Tray(tuple(tablets), plastic * shade[..., None], pockets, powder)


def surface(tray: Tray) -> Surface:
    """Return the surface of the tray with its tablets."""
    color, height = tray.plastic.copy(), tray.pockets.copy()
    for tablet in tray.tablets:
        window = tablet.window()
        cover = ramp(tablet.depth(window), -0.7, 0.7)
        pressed = np.array(tablet.color, dtype=np.float32) * tray.powder[window][..., None]
        color[window] = mixed(color[window], pressed, cover)
        height[window] = np.where(cover > 0, tablet.height(window), height[window])
    return Surface(color, height)


def chipped(tray: Tray, rng: Generator) -> Surface:
    """Break a piece off a tablet's edge, with a rough fracture and crumbs beside it."""
    index = _chosen(tray, rng)
    tablet, angle = tray.tablets[index], rng.uniform(0, 2 * math.pi)
    x, y = (tablet.center[0] + RADIUS * math.cos(angle), tablet.center[1] + RADIUS * math.sin(angle))
    depth = spot(rng, (x, y), rng.uniform(9, 22), roughness=0.25) + 0.8 * smooth_noise(rng, 4)
    rest = surface(_without(tray, index))
    whole = surface(tray)
    gone, fracture = ramp(depth, 1, 2.5), ramp(depth, -2.5, -1)
    rough = whole.color * (0.72 + 0.12 * smooth_noise(rng, 3))[..., None]
    color = mixed(mixed(whole.color, rough, fracture * (tablet.depth() > 0)), rest.color, gone)
    height = whole.height - 1.6 * fracture * (tablet.depth() > 0) + 0.4 * fracture * smooth_noise(rng, 3)
    broken = Surface(color, height * (1 - gone) + rest.height * gone)
    for _ in range(int(rng.integers(2, 6))):
        reach = rng.uniform(1, 6)
        crumb = spot(
            rng, (x + reach * math.cos(angle), y + reach * math.sin(angle) + rng.normal(0, 4)), rng.uniform(1, 2)
        )
        broken = _lump(broken, ramp(crumb, -0.5, 0.5), tablet.color, 1.5)
    return broken


def cracked(tray: Tray, rng: Generator) -> Surface:
    """Crack a tablet with a jagged line."""
    whole, tablet = surface(tray), tray.tablets[_chosen(tray, rng)]
    start = (tablet.center[0] + rng.normal(0, 4), tablet.center[1] + rng.normal(0, 4))
    points = curve(rng, start, rng.uniform(0, math.pi), rng.uniform(34, 62), 1.0)
    jagged = [(x + rng.normal(0, 1.2), y + rng.normal(0, 1.2)) for x, y in points[::2]]
    crack = line(jagged, rng.uniform(1.6, 3.4))
    if rng.random() < 0.4:
        branch = curve(rng, jagged[len(jagged) // 2], rng.uniform(0, math.pi), rng.uniform(14, 26), 1.0)
        crack = np.maximum(crack, line(branch, 1.3))
    crack = crack * ramp(tablet.depth(), -0.5, 1)
    return Surface(mixed(whole.color, (0.10, 0.09, 0.07), 0.9 * crack), whole.height - 2.5 * crack)


def discolored(tray: Tray, rng: Generator) -> Surface:
    """Stain a tablet with brown, yellow, gray or greenish blotches."""
    whole, tablet = surface(tray), tray.tablets[_chosen(tray, rng)]
    tints = ((0.62, 0.40, 0.18), (0.85, 0.66, 0.24), (0.50, 0.50, 0.50), (0.55, 0.66, 0.45))
    tint = np.array(tints[rng.integers(len(tints))], dtype=np.float32)
    place = (tablet.center[0] + rng.normal(0, 8), tablet.center[1] + rng.normal(0, 8))
    depth = spot(rng, place, rng.uniform(10, 30), roughness=0.4) + 3 * rough_noise(rng, 8)
    blotch = ramp(depth, -2, 4) * ramp(tablet.depth(), -0.5, 0.5)
    return replace(whole, color=mixed(whole.color, whole.color * tint, blotch))


def foreign_particle(tray: Tray, rng: Generator) -> Surface:
    """Put one to three dark or metallic particles, or a hair, on tablets or tray."""
    dirty, (x, y) = surface(tray), rng.uniform(24, SIDE - 24, 2).tolist()
    if rng.random() < 0.3:
        hair = curve(rng, (x, y), rng.uniform(0, math.pi), rng.uniform(30, 80), 3)
        return _lump(dirty, line(hair, 1.7), (0.02, 0.015, 0.012), 1.5)
    colors = ((0.015, 0.013, 0.012), (0.16, 0.06, 0.025), (0.55, 0.56, 0.60), (0.50, 0.04, 0.03))
    color = colors[rng.integers(len(colors))]
    for _ in range(int(rng.integers(1, 4))):
        place = (x + rng.normal(0, 9), y + rng.normal(0, 9))
        lump = spot(rng, place, rng.uniform(2.5, 9), roughness=0.4, stretch=rng.uniform(1, 2))
        dirty = _lump(dirty, ramp(lump, -0.6, 0.6), color, 3)
    return dirty


def missing(tray: Tray, rng: Generator) -> Surface:
    """Leave a pocket empty."""
    return surface(_without(tray, _chosen(tray, rng)))


def wrong_tablet(tray: Tray, rng: Generator) -> Surface:
    """Put another product into a pocket: a colored caplet, or a smaller colored tablet."""
    index = _chosen(tray, rng)
    colors = ((0.70, 0.24, 0.22), (0.78, 0.58, 0.12), (0.20, 0.45, 0.32), (0.72, 0.40, 0.50))
    color = colors[rng.integers(len(colors))]
    radius, length = (13.5, 1.9) if rng.random() < 0.6 else (rng.uniform(17, 22), 1.0)
    scored = bool(rng.random() < 0.5)
    intruder = replace(tray.tablets[index], color=color, radius=radius, length=length, scored=scored)
    return surface(replace(tray, tablets=(*_without(tray, index).tablets, intruder)))


TABLETS = Product(
    "tablets",
    draw,
    surface,
    {
        "chipped": chipped,
        "cracked": cracked,
        "discoloured": discolored,
        "foreign_particle": foreign_particle,
        "missing": missing,
        "wrong_tablet": wrong_tablet,
    },
)


def _lump(under: Surface, cover: Field, color: tuple[float, float, float], height: float) -> Surface:
    """Put something small on top of a surface."""
    return Surface(mixed(under.color, color, cover), under.height + height * cover)


def _chosen(tray: Tray, rng: Generator) -> int:
    """Choose the defective tablet."""
    return int(rng.integers(len(tray.tablets)))


def _without(tray: Tray, index: int) -> Tray:
    """Return the tray with one pocket empty."""
    return replace(tray, tablets=tray.tablets[:index] + tray.tablets[index + 1 :])
