"""Captions of scenes, and the word for each patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers
from nano.scenes import Scenes
from nano.words import (
    ARRANGEMENTS,
    COLORS,
    DEFECTS,
    EXPOSURES,
    HELD_OUT_DEFECTS,
    HELD_OUT_MATERIALS,
    LIGHTS,
    MATERIALS,
    PRINTS,
    PROMPT_WORDS,
    SHAPES,
)

OPENINGS = ("", "a photo of ", "an image of ", "a close-up of ", "an inspection photo of ")
"""Beginnings of captions."""

SOUND = ("without defects", "in good condition", "normal", "flawless", "with no damage")
"""Endings of captions of scenes without defects."""

SPOILED = ("with defects", "with defects for anomaly detection", "anomalous", "damaged", "with a defect")
"""Endings of captions of scenes with defects that do not name the defect."""

PHRASES: dict[str, tuple[str, ...]] = {
    "material": ("{}", "a photo of {}", "a surface of {}", "a part made of {}"),
    "colour": ("{}", "a photo of something {}", "a {} surface", "a {} object"),
    "shape": ("{}", "a {}", "a photo of a {}", "an object: {}"),
    "defect": ("{}", "a {}", "a photo of an object with a {}", "a surface with a {}"),
}
"""Templates that turn the words of each group into phrases."""

BACKGROUND, INTACT = "background", "no defect"
"""Last words of the groups ``shape`` and ``defect``."""

GROUPS: dict[str, tuple[str, ...]] = {
    "material": tuple(name for name in MATERIALS if name not in HELD_OUT_MATERIALS),
    "colour": tuple(COLORS),
    "shape": (*SHAPES, BACKGROUND),
    "defect": (*(name for name in DEFECTS if name not in HELD_OUT_DEFECTS), INTACT),
}
"""Words that patches are aligned with, by group. Held-out words come last in ``MATERIALS`` and ``DEFECTS``."""

ANOMALOUS = ("a defect", "damage", *(f"a photo of an object {ending}" for ending in SPOILED[:2]))
NORMAL = ("no damage", "a normal surface", *(f"a photo of an object {ending}" for ending in SOUND[:2]))
"""Phrases for patches with a defect of any kind, and without."""


@dataclass(frozen=True)
class PatchWords:
    """Ground truth of each patch of ``n`` images of ``h x w`` patches; -100 where no word fits.

    Attributes:
        words: For each group, ``(n, h * w)`` indices into its words.
        defective: ``(n, h * w)``: 1 with a defect, 0 without, -100 where a defect only touches the patch.
        occupancy: ``(n, h * w, 16)``: the defective share of each sixteenth of the patch.
        clean: ``(n, h * w, 48)``: the clean patch at 4 x 4 pixels.
    """

    words: dict[str, Tensor]
    defective: Tensor
    occupancy: Tensor
    clean: Tensor


def captions(scenes: Scenes, generator: Generator) -> list[str]:
    """Write a caption for each scene; each part of it is sometimes left out."""
    kinds = [sorted({int(k) for k in one.unique() if k >= 0}) for one in scenes.defects]
    return [_caption(scenes, index, kinds[index], generator) for index in range(len(scenes))]


def _caption(scenes: Scenes, index: int, kinds: list[int], generator: Generator) -> str:
    def now_and_then(share: float) -> bool:
        return bool(chance(share, (), generator))

    def one_of(words: tuple[str, ...]) -> str:
        return words[int(integers(0, len(words) - 1, (), generator))]

    text = one_of(OPENINGS)
    if scenes.shapes[index] >= 0:
        objects = f"{SHAPES[int(scenes.shapes[index])]} of {_surface(scenes, index, 1)}"
        if now_and_then(0.8):
            objects = f"{ARRANGEMENTS[int(scenes.arrangements[index])]} {objects}"
        text += objects + (f" on {_surface(scenes, index, 0)}" if now_and_then(0.8) else "")
    else:
        text += _surface(scenes, index, 0)
    if now_and_then(0.3):
        text += f", {EXPOSURES[int(scenes.exposures[index])]}, {LIGHTS[int(scenes.lights[index])]}"
    if not kinds:
        return text + (f", {one_of(SOUND)}" if now_and_then(0.6) else "")
    if now_and_then(0.25) or max(kinds) >= len(DEFECTS):
        return f"{text}, {one_of(SPOILED)}"
    return f"{text}, with a " + " and a ".join(DEFECTS[kind] for kind in kinds)


def _surface(scenes: Scenes, index: int, layer: int) -> str:
    """Describe a surface, for example ``striped red wood``."""
    printed = int(scenes.prints[index, layer])
    words = tuple(COLORS)[int(scenes.colors[index, layer])], tuple(MATERIALS)[int(scenes.materials[index, layer])]
    return " ".join((PRINTS[printed], *words) if printed else words)


def patch_words(scenes: Scenes, patch: int = 16) -> PatchWords:
    """Return the word of each group for each patch of a scene."""
    share = F.avg_pool2d(scenes.objects[:, None], patch)[:, 0].flatten(1)
    layer = torch.where(share > 0.7, 1, torch.where(share < 0.15, 0, -1))
    defective = (scenes.defects >= 0).float()[:, None]
    amount = F.avg_pool2d(defective, patch)[:, 0].flatten(1)
    kind = F.max_pool2d(scenes.defects.float()[:, None], patch)[:, 0].flatten(1).long()
    kind = torch.where(kind < len(DEFECTS), kind, -100)
    spoiled = amount >= 0.03
    kind = torch.where(spoiled, kind, torch.where(amount == 0, len(GROUPS["defect"]) - 1, -100))
    shape = torch.where(share > 0.3, scenes.shapes[:, None], torch.where(share < 0.05, len(SHAPES), -100))
    quarter = patch // 4
    return PatchWords(
        words={
            "material": _of_layer(scenes.materials, layer),
            "colour": _of_layer(scenes.colors, layer),
            "shape": shape,
            "defect": kind,
        },
        defective=torch.where(spoiled, 1, torch.where(amount == 0, 0, -100)),
        occupancy=_cells(F.avg_pool2d(defective, quarter)),
        clean=_cells(F.avg_pool2d(scenes.clean, quarter)),
    )


def _of_layer(words: Tensor, layer: Tensor) -> Tensor:
    """Return the word ``(n, h * w)`` of each patch's layer, -100 where it covers two."""
    return torch.where(layer < 0, -100, words.gather(1, layer.clamp(min=0)))


def _cells(values: Tensor) -> Tensor:
    """Reshape ``(n, c, 4h, 4w)`` to ``(n, h * w, 16 * c)``."""
    return F.pixel_unshuffle(values, 4).flatten(2).mT


def all_texts(generator: Generator, scenes: Scenes) -> list[str]:
    """Collect captions, phrases and prompt words: the texts that a tokenizer is trained on."""
    phrases = [form.format(word) for group, words in GROUPS.items() for word in words for form in PHRASES[group]]
    held_out = [*HELD_OUT_MATERIALS, *HELD_OUT_DEFECTS]
    return captions(scenes, generator) + phrases + [*ANOMALOUS, *NORMAL, *SPOILED, *SOUND, *held_out, *PROMPT_WORDS]
