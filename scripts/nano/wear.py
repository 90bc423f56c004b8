"""Faint and small defects as machined, printed and pressed parts have them: more ways to draw some defect words."""

from __future__ import annotations

import math

import torch

from nano.spots import Defect, Painted, Spot, line, patch


def scratches(spot: Spot) -> Painted:
    """Draw one to three fine lines side by side, each with a dark flank."""
    opacity, flank = torch.zeros_like(spot.y), torch.zeros_like(spot.y)
    length = spot.log_uniform(14, 100)
    for number in range(3):
        lean, off = spot.uniform(-0.12, 0.12), spot.uniform(-9, 9) * (number > 0)
        bent = spot.x - off - lean * spot.y - spot.uniform(-0.003, 0.003) * spot.y**2
        width, there = spot.log_uniform(0.8, 3.4), spot.chance(0.5) if number else 1.0
        stroke = line(bent, spot.y - 2 * off, width, length * spot.uniform(0.5, 1))
        opacity = torch.maximum(opacity, stroke * there)
        flank = torch.maximum(flank, line(bent - 1.3, spot.y - 2 * off, width, length) * there)
    bright = torch.where(spot.chance(0.75)[:, None], spot.toned(1.2, 1.9), spot.toned(0.4, 0.8))
    dark = spot.toned(0.35, 1.0)
    return dark + (bright - dark) * opacity[:, None], torch.maximum(opacity, 0.7 * flank) * spot.uniform(0.6, 1)


def hairline(spot: Spot) -> Painted:
    """Draw a thin jagged crack, hardly darker than its surroundings."""
    steps = torch.randn(len(spot), 512, generator=spot.generator).cumsum(1) * spot.uniform(0.4, 1.2)[:, 0]
    index = (spot.y.round().long() + 256).clamp(0, 511)
    path = (steps - steps[:, 256:257]).gather(1, index.flatten(1)).view_as(spot.y)
    opacity = line(spot.x - path, spot.y, spot.log_uniform(0.8, 2.2), spot.log_uniform(16, 90))
    return spot.toned(0.2, 0.7), opacity


def pit(spot: Spot) -> Painted:
    """Draw a dent: dull, one flank dark and one bright, with a raised rim."""
    depth = patch(spot, 4, 18, 0.12)
    sunk = (depth / spot.uniform(3, 9)).clamp(0, 1)
    height = (-((depth + 1.5) ** 2) / 6).exp() - spot.uniform(2, 8) * sunk**2 * (3 - 2 * sunk)
    down, across = torch.gradient(height, dim=(1, 2))
    way = spot.uniform(0, 2 * math.pi)
    shade = (down * way.sin() + across * way.cos()) * spot.uniform(0.3, 0.8)
    dull = 1 - (1 - spot.uniform(0.55, 1)) * sunk
    painted = spot.image * ((1 + shade).clamp(0.2, 1.8) * dull)[:, None] + 0.08 * shade[:, None]
    return painted.clamp(0, 1), ((depth + 6) / 3).clamp(0, 1)


def broken_edge(spot: Spot) -> Painted:
    """Remove a piece: the background is visible, with a rough fracture around it."""
    depth = patch(spot, 4, 28, 0.2) + spot.uniform(0, 2) * spot.noise(1.2)
    rough = (spot.toned(0.6, 1.5) * (1 + 0.35 * spot.noise(0.8)[:, None])).clamp(0, 1)
    band = spot.uniform(0.5, 4)
    gone = ((depth - band) + 0.5).clamp(0, 1)[:, None]
    return rough + (spot.behind - rough) * gone, (depth + 0.5).clamp(0, 1)


def smudge(spot: Spot) -> Painted:
    """Smear the print: blurred in one direction, in place of the print or beside it."""
    reach, zero = spot.uniform(5, 20), torch.zeros_like(spot.y)
    turn = spot.uniform(0, 2 * math.pi)
    ways = [(zero + reach * turn.sin() * step / 9, zero + reach * turn.cos() * step / 9) for step in range(10)]
    wiped = sum((spot.moved(*way) for way in ways), start=torch.zeros_like(spot.image)) / len(ways)
    trailing = torch.minimum(wiped, spot.image)
    wiped = torch.where(spot.chance(0.3)[:, None], trailing, wiped)
    return wiped, (patch(spot, 9, 28, 0.2) / 4 + 0.5).clamp(0, 1)


def speck(spot: Spot) -> Painted:
    """Draw a small foreign body or spot, of any color or slightly darker or lighter than the surface."""
    depth = patch(spot, 1.8, 8, 0.3)
    own = (spot.color() * (1 + 0.2 * spot.noise(1))[:, None]).clamp(0, 1)
    near = torch.where(spot.chance(0.5)[:, None], spot.toned(0.4, 0.75), spot.toned(1.25, 1.6))
    return torch.where(spot.chance(0.5)[:, None], own, near), (depth + 0.5).clamp(0, 1)


WEAR_PAINTERS: dict[str, Defect] = {
    "scratch": scratches,
    "crack": hairline,
    "dent": pit,
    "chip": broken_edge,
    "contamination": speck,
    "": smudge,
}
"""Drawing functions of each word; the smudge has no word, so that ``smear`` stays held out."""
