"""Vocabulary of procedural scenes, and the words that are held out for the probes.

The strings are training data of nano: their spelling, British in a few words, must not change.
"""

from __future__ import annotations

COLORS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-0.03, 0.03), (0.55, 0.95), (0.45, 0.9)),
    "orange": ((0.055, 0.1), (0.6, 0.95), (0.65, 0.98)),
    "yellow": ((0.125, 0.175), (0.5, 0.95), (0.7, 1.0)),
    "green": ((0.26, 0.42), (0.35, 0.9), (0.25, 0.8)),
    "turquoise": ((0.46, 0.53), (0.4, 0.9), (0.45, 0.9)),
    "blue": ((0.57, 0.67), (0.45, 0.95), (0.3, 0.9)),
    "purple": ((0.72, 0.82), (0.35, 0.85), (0.3, 0.8)),
    "pink": ((0.88, 0.96), (0.25, 0.6), (0.75, 1.0)),
    "brown": ((0.03, 0.1), (0.4, 0.75), (0.22, 0.5)),
    "beige": ((0.07, 0.13), (0.12, 0.35), (0.65, 0.9)),
    "white": ((0.0, 1.0), (0.0, 0.06), (0.85, 1.0)),
    "grey": ((0.0, 1.0), (0.0, 0.08), (0.35, 0.68)),
    "black": ((0.0, 1.0), (0.0, 0.25), (0.04, 0.16)),
}
"""Color words with their ranges of hue, saturation and value (0..1; hue is periodic)."""

COMMON_COLORS = ("brown", "beige", "white", "grey", "black")
"""Drawn twice as often as the others."""

MATERIALS: dict[str, tuple[float, float]] = {
    "woven fabric": (0.25, 0.7),
    "twill": (0.2, 0.6),
    "knitted wool": (0.25, 0.7),
    "brushed metal": (0.08, 0.4),
    "machined metal": (0.08, 0.4),
    "cast iron": (0.08, 0.35),
    "wood": (0.15, 0.5),
    "leather": (0.12, 0.4),
    "granite": (0.3, 0.8),
    "marble": (0.15, 0.5),
    "paper": (0.02, 0.1),
    "plastic": (0.01, 0.08),
    "tiles": (0.2, 0.7),
    "brick": (0.2, 0.6),
    "carpet": (0.25, 0.7),
    "concrete": (0.12, 0.4),
    "wire mesh": (0.6, 1.0),
    "foam": (0.2, 0.6),
    "circuit board": (0.2, 0.6),
    "glass": (0.05, 0.25),
    "cork": (0.2, 0.6),
    "ribbed rubber": (0.2, 0.6),
}
"""Material words with the range of their contrast."""

HELD_OUT_MATERIALS = ("cork", "ribbed rubber")
"""Never drawn in training."""

SHAPES = ("disc", "ring", "square", "triangle", "hexagon", "capsule", "star", "gear")
"""Objects on the background."""

ARRANGEMENTS = ("one", "several", "rows of")
"""Number and order of the objects."""

PRINTS = ("plain", "striped", "dotted", "checked", "printed")
"""Prints on a surface."""

LIGHTS = ("even light", "light from the left", "light from the right", "light from above", "light from below", "a spot")
"""Directions of the light."""

EXPOSURES = ("dim", "normal", "bright")
"""Amounts of light."""

DEFECTS = (
    "scratch",
    "crack",
    "hole",
    "stain",
    "dent",
    "missing part",
    "dust",
    "hair",
    "discolouration",
    "cut",
    "bump",
    "broken thread",
    "contamination",
    "chip",
    "smear",
    "glue",
)
"""Defect words. Each has a drawing function in ``defects``."""

HELD_OUT_DEFECTS = ("smear", "glue")
"""Never drawn in training."""

PROMPT_WORDS = (
    "A photo of a object with defects for anomaly detection",
    "a photo of a damaged product, a flawless part, an anomalous normal image, good bad broken intact perfect",
    "metal nut screw bolt bottle cable capsule carpet grid hazelnut leather pill tile toothbrush zipper wood",
    "transistor tablet tray fabric machined mark print colour texture surface material background",
)
"""Texts for the tokenizer in addition to the captions, so that prompts need few tokens."""


def held_out_pair(color: int, material: int) -> bool:
    """Return True if this color of this material is held out of the training: one pair of nine."""
    return (5 * color + 3 * material) % 9 == 4
