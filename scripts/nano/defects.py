"""Drawing functions of defects; each returns paint and opacity.

A defect takes a ``Spot`` and returns ``(paint (n, 3, H, W), opacity (n, H, W))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from clipada.synthesis.draws import per_image, uniform
from nano.draws import hashed, pixels
from nano.spots import Defect, Painted, Spot, line, patch


def scratch(spot: Spot) -> Painted:
    """Draw a thin, slightly bent line, lighter or darker."""
    bent = spot.x - spot.uniform(-0.006, 0.006) * spot.y**2
    opacity = line(bent, spot.y, spot.log_uniform(0.8, 2.6), spot.log_uniform(14, 100)) * spot.uniform(0.5, 1)
    lighter = spot.chance(0.6)[:, None]
    return torch.where(lighter, spot.toned(1.25, 1.9), spot.toned(0.35, 0.75)), opacity


def crack(spot: Spot) -> Painted:
    """Draw a dark, jagged line with a branch."""
    length, width = spot.log_uniform(25, 110), spot.log_uniform(0.9, 3)
    opacity = torch.zeros_like(spot.y)
    for lean in (0.0, 0.7):
        steps = torch.randn(len(spot), 256, generator=spot.generator).cumsum(1) * 1.1
        steps = steps - steps[:, 128:129]
        index = (spot.y.round().long() + 128).clamp(0, 255)
        path = steps.gather(1, index.flatten(1)).view_as(spot.y) + lean * spot.y.clamp(min=0)
        opacity = torch.maximum(opacity, line(spot.x - path, spot.y, width * (1 - 0.4 * lean), length))
    return spot.toned(0.05, 0.4), opacity


def cut(spot: Spot) -> Painted:
    """Draw a straight slit: dark inside, light along its rims."""
    width, length = spot.log_uniform(2, 5), spot.log_uniform(14, 60)
    inside, around = line(spot.x, spot.y, width, length), line(spot.x, spot.y, width + 3, length + 4)
    dark, light = spot.toned(0.05, 0.3), spot.toned(1.2, 1.6)
    return light + (dark - light) * inside[:, None], around


def hair(spot: Spot) -> Painted:
    """Draw a long, thin, curved fiber of one color."""
    wave = spot.uniform(2, 14) * (spot.y / spot.log_uniform(8, 40) + spot.uniform(0, 6)).sin()
    opacity = line(spot.x - wave, spot.y, spot.log_uniform(1, 2.4), spot.log_uniform(35, 140))
    return torch.where(spot.chance(0.5)[:, None], 0.3 * spot.color(), spot.color()).expand_as(spot.image), opacity


def hole(spot: Spot) -> Painted:
    """Draw an irregular opening: dark, with a lit rim on one side."""
    depth = patch(spot, 3, 16, 0.12)
    rim = ((depth + 2.5).clamp(0, 1) - depth.clamp(0, 1)) * (spot.x > 0)
    dark = (0.15 * spot.color() * spot.chance(0.8)[:, None]).expand_as(spot.image)
    return dark + (spot.toned(1.2, 1.7) - dark) * rim[:, None], torch.maximum(depth.clamp(0, 1), rim)


def stain(spot: Spot) -> Painted:
    """Draw a soft, ragged area through which the surface is visible."""
    depth = patch(spot, 6, 32, 0.35)
    opacity = (depth / spot.log_uniform(1, 8)).clamp(0, 1) * spot.uniform(0.35, 0.85)
    return spot.image * spot.color() * spot.uniform(0.4, 1)[:, None], opacity


def dent(spot: Spot) -> Painted:
    """Pull content toward a center, one flank dark and one light."""
    return _pressed(spot, sign=1.0)


def bump(spot: Spot) -> Painted:
    """Push content away from a center, with a highlight."""
    return _pressed(spot, sign=-1.0)


def _pressed(spot: Spot, sign: float) -> Painted:
    radius = spot.log_uniform(5, 22)
    down, across = spot.y / radius, spot.x / radius
    bell = (-(down**2 + across**2)).exp()
    moved = spot.moved(sign * bell * down * radius * 0.5, sign * bell * across * radius * 0.5)
    shade = sign * (down + 0.4 * across) * bell * spot.uniform(0.35, 0.9)
    shine = bell**4 * spot.uniform(0, 0.4) if sign < 0 else torch.zeros_like(bell)
    painted = moved * (1 + shade[:, None]) + 0.12 * shade[:, None] + shine[:, None]
    return painted.clamp(0, 1), (4 * bell).clamp(0, 1)


def missing_part(spot: Spot) -> Painted:
    """Remove a large piece; the background becomes visible."""
    straight = spot.x + 0.15 * spot.noise(2)
    depth = torch.where(spot.chance(0.4), straight, patch(spot, 12, 40, 0.1))
    return spot.behind, (depth + 0.5).clamp(0, 1) * ((spot.y**2 + spot.x**2).sqrt() < spot.log_uniform(16, 70))


def chip(spot: Spot) -> Painted:
    """Break out a small angular piece."""
    sides = spot.uniform(3, 6).floor()
    sector = 2 * math.pi / sides
    turn = torch.atan2(spot.y, spot.x * spot.uniform(0.6, 1))
    away = (spot.y**2 + spot.x**2).sqrt() * (turn % sector - sector / 2).cos()
    opacity = (spot.log_uniform(2.5, 11) - away + 0.5).clamp(0, 1)
    broken = spot.toned(1.2, 1.6) + 0.05 * spot.noise(0.5)[:, None]
    return torch.where(spot.chance(0.5)[:, None], spot.behind, broken), opacity


def dust(spot: Spot) -> Painted:
    """Draw many fine light or dark specks around a place."""
    pitch = spot.log_uniform(4, 9)
    row, column, seed = (spot.y / pitch).floor(), (spot.x / pitch).floor(), spot.uniform(1, 2)
    off = [(way / pitch) % 1 - 0.2 - 0.6 * hashed(row, column, seed + k) for k, way in enumerate((spot.y, spot.x))]
    speck = spot.uniform(0.6, 1.6) - (off[0] ** 2 + off[1] ** 2).sqrt() * pitch
    near = (spot.y**2 + spot.x**2).sqrt() < spot.log_uniform(12, 45)
    there = near & (hashed(row, column, seed + 2) < spot.uniform(0.2, 0.6))
    tone = torch.where(spot.chance(0.6), spot.uniform(0.8, 1), spot.uniform(0, 0.15))
    return tone[:, None].expand_as(spot.image), (speck + 0.5).clamp(0, 1) * there


def contamination(spot: Spot) -> Painted:
    """Draw a foreign body: opaque, with its own grain and color."""
    depth = patch(spot, 3.5, 18, 0.3)
    grain = 1 + spot.uniform(0, 0.3) * spot.noise(1)
    return (spot.color() * grain[:, None]).clamp(0, 1), (depth + 0.5).clamp(0, 1)


def discoloration(spot: Spot) -> Painted:
    """Change hue or tone in a wide, soft area."""
    radius = spot.log_uniform(10, 36)
    opacity = (1.6 * (-((spot.y / radius) ** 2) - (spot.x * spot.uniform(1, 2) / radius) ** 2).exp()).clamp(0, 1)
    gain = uniform(0.45, 1.6, (len(spot), 3, 1, 1), spot.generator)
    return (spot.image * gain).clamp(0, 1), opacity


def broken_thread(spot: Spot) -> Painted:
    """Shift structure sideways along a line."""
    width, length = spot.log_uniform(3, 9), spot.log_uniform(16, 60)
    bell = (-((spot.x / width) ** 2) - (2 * spot.y / length) ** 4).exp()
    shift = spot.uniform(3, 9) * bell * torch.where(spot.chance(0.5), 1.0, -1.0)
    moved = spot.moved(shift, -shift * spot.uniform(-1, 1))
    return moved * (1 - spot.uniform(0, 0.5) * bell)[:, None], (3 * bell).clamp(0, 1)


def smear(spot: Spot) -> Painted:
    """Smear content in one direction."""
    reach = spot.log_uniform(5, 16)
    zero = torch.zeros_like(spot.y)
    drawn = (
        sum((spot.moved(zero, zero + reach * (step / 4 - 1)) for step in range(9)), start=torch.zeros_like(spot.image))
        / 9
    )
    return drawn, (patch(spot, 10, 30, 0.15) / 3).clamp(0, 1)


def glue(spot: Spot) -> Painted:
    """Draw a clear drop: tinted, with a highlight and a dark edge."""
    depth = patch(spot, 6, 22, 0.15)
    edge = (-((depth - 1.5) ** 2) / 3).exp()
    shine = (-((spot.y + 4) ** 2 + (spot.x + 3) ** 2) / 8).exp()
    tinted = 0.7 * spot.image + 0.3 * (0.5 + 0.5 * spot.color())
    return (tinted * (1 - 0.5 * edge[:, None]) + 0.7 * shine[:, None]).clamp(0, 1), (depth + 0.5).clamp(0, 1)


DEFECT_PAINTERS: dict[str, Defect] = {
    "scratch": scratch,
    "crack": crack,
    "hole": hole,
    "stain": stain,
    "dent": dent,
    "missing part": missing_part,
    "dust": dust,
    "hair": hair,
    "discolouration": discoloration,
    "cut": cut,
    "bump": bump,
    "broken thread": broken_thread,
    "contamination": contamination,
    "chip": chip,
    "smear": smear,
    "glue": glue,
}
"""Drawing function of each defect word."""


def spoil(
    image: Tensor,
    behind: Tensor,
    kinds: Tensor,
    where: Tensor,
    generator: Generator,
    *,
    painters: Mapping[str, Defect] = DEFECT_PAINTERS,
    visible: float = 0.06,
) -> tuple[Tensor, Tensor]:
    """Draw one defect into each image.

    Args:
        image: ``(n, 3, H, W)``.
        behind: Background that is visible where a part is missing, ``(n, 3, H, W)``.
        kinds: ``(n,)`` indices into ``painters``; -1 for none.
        where: ``(n, H, W)``, likelihood of the defect's center.
        generator: Source of all randomness.
        painters: Drawing function of each kind.
        visible: A pixel counts as defective where any channel changed by more than this.

    Returns:
        The images, and masks ``(n, H, W)`` bool of visible changes.
    """
    image, masks = image.clone(), torch.zeros(image.shape[0], *image.shape[2:], dtype=torch.bool)
    y, x = pixels((image.shape[2], image.shape[3]))
    for number, painter in enumerate(painters.values()):
        chosen = (kinds == number).nonzero().flatten()
        if not len(chosen):
            continue
        count = len(chosen)
        rough = where[chosen, ::4, ::4]
        best = (rough * torch.rand(rough.shape, generator=generator)).flatten(1).argmax(1)
        down, across = (4.0 * (best // rough.shape[2])), (4.0 * (best % rough.shape[2]))
        angle = per_image(uniform(0, 2 * math.pi, (count,), generator))
        off_y, off_x = y - per_image(down), x - per_image(across)
        before = image[chosen]
        spot = Spot(
            before,
            behind[chosen],
            off_y * angle.cos() + off_x * angle.sin(),
            off_x * angle.cos() - off_y * angle.sin(),
            generator,
        )
        paint, opacity = painter(spot)
        image[chosen] = before + opacity[:, None] * (paint - before)
        masks[chosen] = (image[chosen] - before).abs().amax(1) > visible
    return image, masks
