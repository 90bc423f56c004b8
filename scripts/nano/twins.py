"""Twins: the same part photographed with and without a defect, so that they differ in the defect only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, per_image, uniform
from nano.defects import DEFECT_PAINTERS, spoil
from nano.draws import Size
from nano.parts import ARRAY, CLOSE, Layout, finish, holes, lay_out, lit, marks
from nano.scenes import Palette, Scenes, camera, lighting
from nano.surfaces import color_values, surfaces
from nano.wear import WEAR_PAINTERS
from nano.words import ARRANGEMENTS, COLORS, DEFECTS, EXPOSURES, HELD_OUT_DEFECTS, LIGHTS, MATERIALS

SMOOTH = ("brushed metal", "machined metal", "cast iron", "plastic", "paper", "glass")
"""Materials of most parts."""

NAMELESS = len(DEFECTS)
"""Index of defects without a word."""

SMALLEST = 24
"""Number of visible pixels below which a defect is removed again."""

NOISE = 0.015
"""Largest deviation of the sensor noise."""

AT_EDGES = ("chip", "missing part")
"""Defects that are usually at an edge."""

EVERY = len(ARRANGEMENTS) - 1
"""Arrangement of arrays."""


def draw_twins(count: int, size: Size, corner: tuple[int, int], palette: Palette, generator: Generator) -> Scenes:
    """Draw ``count`` parts with a defect, then the same without: ``2 * count`` scenes.

    Args:
        count: Number of parts.
        size: Height and width in pixels.
        corner: Row and column of the scene in a picture of ``FRAME`` pixels.
        palette: Allowed materials.
        generator: Source of all randomness.
    """
    layout = lay_out(count, size, corner, generator)
    rows = torch.stack([_materials(count, palette, share, generator) for share in (0.35, 0.3)], 1)
    materials, colors = rows.unbind(2)
    prints = torch.zeros(count, 2, dtype=torch.long)
    behind = surfaces(materials[:, 0], colors[:, 0], prints[:, 0], size, generator)
    dark = chance(0.35, (count,), generator) * uniform(0.3, 0.85, (count,), generator)
    behind = behind * (1 - dark)[:, None, None, None]
    opening = holes(layout, generator)
    inside = torch.minimum(layout.depth, opening)
    ink = marks(layout, generator) * (inside > 1)
    face = surfaces(materials[:, 1], colors[:, 1], prints[:, 1], size, generator)
    face = _printed(finish(face, layout, inside, generator), ink, generator)
    cover = (inside + 0.5).clamp(0, 1)
    under = behind * _around(layout, inside, generator)[:, None]
    scene = under + cover[:, None] * (_filled(face, opening, generator) - under)
    spoiled, defects = _spoiled(scene, behind, layout, inside, ink, generator)
    lights = integers(0, len(LIGHTS) - 1, (count,), generator)
    exposures = integers(1, len(EXPOSURES) - 1, (count,), generator)
    light = lighting(lights, exposures, size, generator)
    clean = (scene * light).clamp(0, 1)
    close = layout.kinds == CLOSE
    whole = torch.stack((torch.where(close, 1, 0), torch.where(close, -1, 1)), 1)
    return Scenes(
        images=camera(torch.cat((spoiled * light, scene * light)), generator, NOISE),
        clean=clean.repeat(2, 1, 1, 1),
        objects=torch.where(per_image(close), 0.0, cover).repeat(2, 1, 1),
        defects=torch.cat((defects, torch.full_like(defects, -1))),
        materials=_of(materials, whole),
        colors=_of(colors, whole),
        prints=_of(prints, whole),
        shapes=layout.shapes.repeat(2),
        arrangements=torch.where(close, -1, torch.where(layout.kinds == ARRAY, EVERY, 0)).repeat(2),
        lights=lights.repeat(2),
        exposures=exposures.repeat(2),
    )


def _of(words: Tensor, layers: Tensor) -> Tensor:
    """Return the words of each image's layers, -1 where it has none, for both twins: ``(2n, 2)``."""
    return torch.where(layers < 0, -1, words.gather(1, layers.clamp(min=0))).repeat(2, 1)


def _materials(count: int, palette: Palette, any_of_them: float, generator: Generator) -> Tensor:
    """Draw material and color ``(count, 2)`` of a layer, mostly smooth ones."""
    smooth = torch.tensor([list(MATERIALS).index(name) for name in SMOOTH])
    plain = palette.surfaces[torch.isin(palette.surfaces[:, 0], smooth)]
    any_one, smooth_one = (rows[integers(0, len(rows) - 1, (count,), generator)] for rows in (palette.surfaces, plain))
    return torch.where(chance(any_of_them, (count, 1), generator), any_one, smooth_one)


def _printed(face: Tensor, ink: Tensor, generator: Generator) -> Tensor:
    """Print in dark, light or colored ink, or press the print in."""
    count = len(face)
    color = color_values(integers(0, len(COLORS) - 1, (count,), generator), generator)
    toned = torch.where(chance(0.6, (count, 1), generator), color * uniform(0, 0.3, (count, 1), generator), color)
    opaque = (per_image(uniform(0.5, 1, (count,), generator)) * ink)[:, None]
    pressed = (face + lit(-2.5 * ink, generator)[:, None]).clamp(0, 1)
    return torch.where(
        chance(0.2, (count, 1, 1, 1), generator), pressed, face + opaque * (toned[..., None, None] - face)
    )


def _around(layout: Layout, inside: Tensor, generator: Generator) -> Tensor:
    """Return a factor ``(n, H, W)`` for the background: the parts' shadow, and sometimes the rim of a pocket."""
    count = len(layout)
    cast = F.pad(inside, (2, 0, 2, 0), mode="replicate")[:, : inside.shape[1], : inside.shape[2]]
    shadow = per_image(uniform(0, 0.5, (count,), generator)) * (0.5 + cast / 4).clamp(0, 1)
    away = layout.depth + per_image(uniform(2, 14, (count,), generator))
    rim = (per_image(uniform(0.8, 3, (count,), generator)) - away.abs()).clamp(0, 1)
    gain = uniform(-0.5, 0.6, (count,), generator) * chance(0.4, (count,), generator)
    return (1 - shadow) * (1 + per_image(gain) * rim)


def _filled(face: Tensor, opening: Tensor, generator: Generator) -> Tensor:
    """Return faces through whose openings the background is visible."""
    rim = (-((opening - 2) ** 2) / per_image(uniform(1, 6, (len(face),), generator))).exp()
    gain = per_image(uniform(-0.35, 0.35, (len(face),), generator) * chance(0.4, (len(face),), generator))
    return (face * (1 + gain * rim)[:, None]).clamp(0, 1)


def _spoiled(
    scene: Tensor, behind: Tensor, layout: Layout, inside: Tensor, ink: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw a defect into each scene, and into a fifth of them another: images and indices into ``DEFECTS``."""
    defects = torch.full(inside.shape, -1)
    general = {name: painter for name, painter in DEFECT_PAINTERS.items() if name not in HELD_OUT_DEFECTS}
    for painters, probability in ((general, 0.5), (WEAR_PAINTERS, 0.75)):
        names = list(painters)
        kinds = integers(0, len(names) - 1, (len(scene),), generator)
        kinds = torch.where(chance(probability, (len(scene),), generator), kinds, -1)
        where = _places(names, kinds, layout, inside, ink, generator)
        after, mask = spoil(scene, behind, kinds, where, generator, painters=painters)
        mask = mask & per_image(mask.sum((1, 2)) >= SMALLEST)
        scene = torch.where(mask.any(2).any(1)[:, None, None, None], after, scene)
        words = torch.tensor([DEFECTS.index(name) if name else NAMELESS for name in names])
        defects = torch.where(mask, per_image(words[kinds]), defects)
    return scene, defects


def _places(
    names: list[str], kinds: Tensor, layout: Layout, inside: Tensor, ink: Tensor, generator: Generator
) -> Tensor:
    """Return the likelihood of each defect's position: anywhere on the part, at an edge, or on the print."""
    solid = (inside > 2).float() + 0.05 * (layout.depth > 0)
    edge = torch.where(layout.depth.abs() < 3, 1.0, 0.3 * (inside.abs() < 3))
    printed = F.max_pool2d(ink[:, None], 9, stride=1, padding=4)[:, 0]
    at_edge = torch.tensor([name in AT_EDGES for name in names])[kinds] & chance(0.7, (len(kinds),), generator)
    on_print = torch.tensor([not name for name in names])[kinds] | chance(0.15, (len(kinds),), generator)
    where = torch.where(per_image(at_edge), edge + 1e-3, solid + 1e-3)
    return torch.where(per_image(on_print), printed + 1e-3, where)
