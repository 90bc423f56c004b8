"""Turned metal disc with a bore, three bolt holes and a printed mark, on a rubber mat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import scipy.ndimage
from numpy.random import Generator

from clipada.data.demo.camera import Color, Surface, mixed
from clipada.data.demo.drawing import (
    SIDE,
    Field,
    Point,
    X,
    Y,
    curve,
    distance,
    grain,
    line,
    ramp,
    rough_noise,
    smooth_noise,
    spot,
)
from clipada.data.demo.product import Product

RADIUS, BORE, BOLT = 110.0, 27.0, 8.0
"""Radii of the disc, of its bore and of its bolt holes, in pixels."""

BOLTS_AT = 72.0
"""Distance of the bolt holes from the center, in pixels."""

STEEL = (0.52, 0.53, 0.55)
INK = (0.035, 0.04, 0.06)
MAT = (0.026, 0.028, 0.032)


@dataclass(frozen=True)
class Disc:
    """Metal disc on a mat.

    Attributes:
        center: Center of the disc.
        turn: Rotation, in radians.
        steel: ``(H, W, 3)``: color of the bare face, with turning marks and highlights.
        mat: ``(H, W, 3)``: color of the mat.
        solid: Share of each pixel that is metal, 0..1.
        edge: Height of rims and bevels, in pixels.
        mark: Coverage with ink, 0..1.
    """

    center: Point
    turn: float
    steel: Color = field(repr=False)
    mat: Color = field(repr=False)
    solid: Field = field(repr=False)
    edge: Field = field(repr=False)
    mark: Field = field(repr=False)


def draw(rng: Generator) -> Disc:
    """Draw a disc slightly off center and slightly rotated, with its own turning marks, tone and lot number."""
    center, turn = (rng.normal(SIDE / 2, 2.5), rng.normal(SIDE / 2, 2.5)), math.radians(rng.uniform(-9, 9))
    radius = distance(center)
    holes = np.min(
        [distance(_polar(center, BOLTS_AT, turn + at)) - BOLT for at in map(math.radians, (-150, -90, -30))], axis=0
    )
    inside = np.minimum(np.minimum(RADIUS - radius, radius - BORE), holes)  # distance to the nearest rim
    return Disc(
        center=center,
        turn=turn,
        steel=_steel(rng, center, radius),
        mat=np.array(MAT, dtype=np.float32) * (1 + 0.18 * grain(rng) + 0.1 * smooth_noise(rng, 5))[..., None],
        solid=ramp(inside, -0.7, 0.7),
        edge=5 * ramp(inside, -1.0, 4.0),
        mark=_printed(rng, center, turn),
    )


def surface(disc: Disc) -> Surface:
    """Return the surface of the printed disc on its mat."""
    face = mixed(disc.steel, INK, 0.9 * disc.mark)
    return Surface(mixed(disc.mat, face, disc.solid), disc.edge)


def scratch(disc: Disc, rng: Generator) -> Surface:
    """Cut one to three scratches through the turning marks to bright metal."""
    scratched, where = surface(disc), _on_face(disc, rng, 14)
    angle, length = rng.uniform(0, math.pi), rng.uniform(22, 95)
    for _ in range(int(rng.integers(1, 4))):
        start = (where[0] + rng.normal(0, 5), where[1] + rng.normal(0, 5))
        points = curve(rng, start, angle + rng.normal(0, 0.08), length * rng.uniform(0.5, 1), 0.25)
        cut = line(points, rng.uniform(1.2, 3.4)) * disc.solid
        beside = np.roll(cut, (1, 1), (0, 1))
        color = mixed(mixed(scratched.color, (0.10, 0.10, 0.10), 0.75 * beside), (0.95, 0.95, 0.97), cut)
        scratched = Surface(color, scratched.height - 0.7 * cut)
    return scratched


def dent(disc: Disc, rng: Generator) -> Surface:
    """Dent the face: one side bright, the other dark, with a raised rim."""
    sound = surface(disc)
    radius = rng.uniform(7, 18)
    depth = spot(rng, _on_face(disc, rng, radius + 3), radius, roughness=0.12, stretch=rng.uniform(1, 1.5))
    pit = ramp(depth, -1, radius * 0.8) * radius * 0.75
    rim = 0.9 * np.exp(-(((depth + 1.5) / 2.0) ** 2))
    dull = ramp(depth, -0.5, 3)
    return Surface(mixed(sound.color, sound.color * 0.62, dull), sound.height - pit + rim)


def rust(disc: Disc, rng: Generator) -> Surface:
    """Corrode a patch, dense in the middle and speckled around."""
    sound, radius = surface(disc), rng.uniform(10, 38)
    depth = spot(rng, _on_face(disc, rng, 10), radius, roughness=0.4, stretch=rng.uniform(1, 1.7))
    eaten = ramp(depth / radius + 0.45 * rough_noise(rng, 9), 0.05, 0.35) * disc.solid
    tone = np.clip(1 + 0.3 * rough_noise(rng, 5) + 0.12 * grain(rng), 0.35, 1.8)
    brown = np.array((0.24, 0.085, 0.030), dtype=np.float32) * tone[..., None]
    return Surface(mixed(sound.color, brown, 0.94 * eaten), sound.height + 0.5 * eaten * smooth_noise(rng, 3))


def chip(disc: Disc, rng: Generator) -> Surface:
    """Break a piece out of the outer edge or the bore, which leaves a rough bright fracture."""
    at_bore = rng.random() < 0.25
    edge = _polar(disc.center, BORE - 1 if at_bore else RADIUS + 1, rng.uniform(0, 2 * math.pi))
    depth = spot(rng, edge, rng.uniform(9, 16) if at_bore else rng.uniform(11, 30), roughness=0.2)
    depth = depth + 0.7 * smooth_noise(rng, 5)
    gone, fracture = ramp(depth, 1.5, 3.0), ramp(depth, -2.2, -0.8)
    rough = np.clip(0.62 + 0.35 * smooth_noise(rng, 3.5) + 0.1 * grain(rng), 0.15, 1)
    broken = mixed(surface(disc).color, rough[..., None] * np.float32(0.6), fracture * disc.solid)
    height = disc.edge * (1 - gone) - 1.5 * fracture * (1 - gone)
    return Surface(mixed(broken, disc.mat, gone), height)


def smeared_print(disc: Disc, rng: Generator) -> Surface:
    """Smear the wet ink of a part of the mark."""
    x, y = _polar(disc.center, BOLTS_AT, disc.turn + math.pi / 2 + rng.uniform(-0.35, 0.35))
    wiped = ramp(spot(rng, (x, y), rng.uniform(13, 28), roughness=0.2, stretch=1.5), -3, 3)
    reach, angle = int(rng.integers(9, 20)), disc.turn + math.pi * int(rng.integers(2)) + rng.normal(0, 0.5)
    ghosts = [
        scipy.ndimage.shift(disc.mark, (step * math.sin(angle), step * math.cos(angle)), order=1)
        for step in range(reach)
    ]
    streaks = 0.75 + 0.25 * smooth_noise(rng, 6)
    smear = np.clip(1.7 * np.mean(ghosts, axis=0) * streaks, 0, 0.85)
    return surface(replace(disc, mark=disc.mark * (1 - wiped) + smear * wiped))


def swarf(disc: Disc, rng: Generator) -> Surface:
    """Put a curled metal shaving on the part, bright on top, with a shadow."""
    sound, (x, y) = surface(disc), _on_face(disc, rng, 16)
    turns, radius, drift = rng.uniform(1.2, 3.2), rng.uniform(5, 12), rng.uniform(2, 7)
    t, angle = np.linspace(0, 1, 60), rng.uniform(0, 2 * math.pi)
    phase = 2 * math.pi * turns * t + angle
    xs = x + radius * np.cos(phase) + drift * turns * (t - 0.5) * 2 * np.cos(angle)
    ys = y + radius * np.sin(phase) + drift * turns * (t - 0.5) * 2 * np.sin(angle)
    points = list(zip(xs.tolist(), ys.tolist(), strict=True))
    body, shine = line(points, 3.8), line(points, 1.4)
    color = mixed(mixed(sound.color, (0.20, 0.17, 0.13), body), (1.0, 0.98, 0.92), 0.85 * shine)
    return Surface(color, sound.height + 3.5 * body)


METAL = Product(
    "metal",
    draw,
    surface,
    {
        "chip": chip,
        "dent": dent,
        "rust": rust,
        "scratch": scratch,
        "smeared_print": smeared_print,
        "swarf": swarf,
    },
)


def _steel(rng: Generator, center: Point, radius: Field) -> Color:
    """Draw turned steel: fine rings with bow-tie-shaped highlights across them."""
    angle = np.arctan2(Y - center[1], X - center[0])
    wobble = radius + 0.4 * smooth_noise(rng, 60)
    grooves = np.convolve(rng.normal(0, 1, 700), (0.25, 0.5, 0.25), mode="same")
    rings = np.interp(4 * wobble, np.arange(700), grooves).astype(np.float32)
    light = math.radians(-50 + rng.normal(0, 7))
    bow_tie = np.abs(np.cos(angle - light)) ** 6 + 0.45 * np.abs(np.cos(angle - light - 1.25)) ** 14
    brightness = (0.74 + 0.62 * bow_tie) * (1 + 0.13 * rings) + 0.012 * grain(rng) + 0.03 * smooth_noise(rng, 30)
    tone = np.array(STEEL) * rng.uniform(0.9, 1.08) * (1 + rng.normal(0, 0.01, 3))
    steel: Color = np.clip(brightness, 0, None)[..., None] * tone.astype(np.float32)
    return steel


def _printed(rng: Generator, center: Point, turn: float) -> Field:
    """Print the mark below the bore, with a random lot number and slightly uneven ink."""
    canvas = PIL.Image.new("L", (2 * SIDE, 2 * SIDE))
    pen, (x, y) = PIL.ImageDraw.Draw(canvas), (SIDE, SIDE + 2 * 62)
    pen.text((x, y), "CA-204", fill=255, font=PIL.ImageFont.load_default(44), anchor="mm")
    pen.text(
        (x, y + 44), f"LOT {rng.integers(1000, 10000)}", fill=255, font=PIL.ImageFont.load_default(28), anchor="mm"
    )
    shift = (round(2 * center[0]) - SIDE, round(2 * center[1]) - SIDE)
    turned = canvas.rotate(-math.degrees(turn), PIL.Image.Resampling.BILINEAR, translate=shift)
    ink = np.asarray(turned.reduce(2), dtype=np.float32) / 255
    uneven: Field = ink * np.clip(0.95 + 0.06 * smooth_noise(rng, 12) + 0.04 * grain(rng), 0, 1)
    return uneven


def _polar(center: Point, radius: float, angle: float) -> Point:
    return center[0] + radius * math.cos(angle), center[1] + radius * math.sin(angle)


def _on_face(disc: Disc, rng: Generator, margin: float) -> Point:
    """Draw a point of the face at least ``margin`` pixels from bore and outer edge, not in a bolt hole."""
    while True:
        radius, angle = rng.uniform(BORE + margin, RADIUS - margin), rng.uniform(0, 2 * math.pi)
        x, y = _polar(disc.center, radius, angle)
        if disc.solid[int(y), int(x)] == 1:
            return x, y
