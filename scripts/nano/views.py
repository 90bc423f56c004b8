"""Views: a scene photographed twice without its defect and once with it, each with another pose and light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, log_uniform, uniform
from nano.scenes import Palette, draw_scenes
from nano.twins import draw_twins

SPARE = 16
"""Largest shift of a view, in pixels; the scene is drawn larger by this margin on every side."""

PARTS = 0.6
"""Share of draws with views of parts; the others are views of scenes of all kinds."""


@dataclass(frozen=True)
class Views:
    """Views of ``n`` scenes; the first two are without the defect, the third is with it.

    A view shows at ``p``, in pixels from its center, the point of the scene at ``A p + b`` from the scene's center.

    Attributes:
        images: ``(3, n, 3, H, W)``, of range 0..1.
        turns: ``A``, ``(3, n, 2, 2)``; columns come before rows.
        moves: ``b``, ``(3, n, 2)``.
        defects: ``(n, 1, H, W)``: 1 where the third view shows a defect.
        surfaces: ``(3, n, 1, H, W)``: 0 and 1 on the two layers of a scene, between them where they meet or where a
            pixel may differ from any other of its layer, as on parts.
    """

    images: Tensor
    turns: Tensor
    moves: Tensor
    defects: Tensor
    surfaces: Tensor


def draw_views(
    count: int, side: int, place: tuple[int, int], palette: Palette, generator: Generator, parts: float = PARTS
) -> Views:
    """Draw the views of ``count`` scenes.

    Args:
        count: Number of scenes.
        side: Height and width of the views in pixels.
        place: Row and column of the views in a whole picture, in pixels.
        palette: Allowed content of the scenes.
        generator: Source of all randomness.
        parts: Probability of views of parts; only these show wear.
    """
    size = (side + 2 * SPARE, side + 2 * SPARE)
    if bool(chance(parts, (), generator)):
        scenes = draw_twins(count, size, place, palette, generator)
        spoiled, sound = scenes.images[:count], scenes.images[count:]
        defects = scenes.defects[:count] >= 0
        surfaces = torch.full_like(defects, 0.5, dtype=torch.float32)
    else:
        scenes = draw_scenes(count, size, palette, generator)
        spoiled, sound, defects, surfaces = scenes.images, scenes.clean, scenes.defects >= 0, scenes.objects
    images, turns, moves, maps = [], [], [], []
    for scene in (sound, sound, spoiled):
        turn, move = _poses(count, generator)
        images.append(_photographed(_seen(scene, turn, move, side), generator))
        known = torch.stack((defects.float(), surfaces), 1)
        maps.append(_seen(known, turn, move, side, mode="nearest"))
        turns.append(turn)
        moves.append(move)
    return Views(
        images=torch.stack(images),
        turns=torch.stack(turns),
        moves=torch.stack(moves),
        defects=maps[2][:, :1],
        surfaces=torch.stack(maps)[:, :, 1:],
    )


def _poses(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw rotations, mostly small, with scale and stretch ``(n, 2, 2)``, and shifts ``(n, 2)`` in pixels."""
    small = uniform(-15, 15, (count,), generator) * math.pi / 180
    angle = torch.where(chance(0.3, (count,), generator), uniform(-math.pi, math.pi, (count,), generator), small)
    scale = log_uniform(0.9, 1.1, (count,), generator)
    stretch = log_uniform(0.96, 1.04, (count,), generator)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    columns = torch.stack((cosine * stretch, -sine * stretch), 1)
    rows = torch.stack((sine / stretch, cosine / stretch), 1)
    return torch.stack((columns, rows), 1), uniform(-SPARE, SPARE, (count, 2), generator)


def _seen(scenes: Tensor, turns: Tensor, moves: Tensor, side: int, mode: str = "bilinear") -> Tensor:
    """Warp scenes ``(n, c, S, S)`` to poses: ``(n, c, side, side)``. Maps are 0 outside, images are mirrored."""
    places = centers(side, 1) @ turns.mT + moves[:, None]
    grid = (places / (scenes.shape[-1] / 2)).view(len(scenes), side, side, 2)
    padding = "reflection" if mode == "bilinear" else "zeros"
    return F.grid_sample(scenes, grid, mode=mode, padding_mode=padding, align_corners=False)


def centers(side: int, patch: int) -> Tensor:
    """Return column and row of the patches of a square image, in pixels from its center, ``(N, 2)``."""
    axis = (torch.arange(side // patch) + 0.5) * patch - side / 2
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((columns, rows), -1).flatten(0, 1)


def _photographed(images: Tensor, generator: Generator) -> Tensor:
    """Apply random exposure, tint, uneven light, gamma, blur and noise to each photograph."""
    count, _, height, width = images.shape

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return uniform(low, high, (count, *(shape or (1, 1, 1))), generator)

    images = images * drawn(-0.25, 0.25).exp() * drawn(-0.04, 0.04, 3, 1, 1).exp()
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    images = images * (1 + drawn(-0.12, 0.12) * rows + drawn(-0.12, 0.12) * columns)
    images = images.clamp(1e-4, 1) ** drawn(-0.15, 0.15).exp()
    soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = images + drawn(0, 0.7) * chance(0.3, (count, 1, 1, 1), generator) * (soft - images)
    noise = torch.randn(images.shape, generator=generator)
    return (images + drawn(0, 0.025) * noise).clamp(0, 1)
