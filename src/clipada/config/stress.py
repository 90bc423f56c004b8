"""Strengths of the perturbations of good images: those that a stress test measures, and those that a training sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from clipada.config.schema import brief, require

PerturbationKind = Literal[
    "shift",
    "rotate",
    "zoom",
    "blur",
    "noise",
    "jpeg",
    "darker",
    "brighter",
    "white_balance",
    "light_gradient",
    "dust",
]
"""A way in which photos of good parts change without a defect."""

UNITS: Mapping[PerturbationKind, tuple[str, str]] = {
    "shift": ("shift", "px"),
    "rotate": ("rotate", "degrees"),
    "zoom": ("zoom", "%"),
    "blur": ("blur", "px"),
    "noise": ("noise", "%"),
    "jpeg": ("JPEG quality", ""),
    "darker": ("darker", "%"),
    "brighter": ("brighter", "%"),
    "white_balance": ("white balance", "%"),
    "light_gradient": ("light gradient", "%"),
    "dust": ("dust", "specks"),
}
"""Name and unit of each kind, in words. Pixels are those of the photo, before it is resized for the model."""

_MOST: Mapping[str, float] = {
    "shift": 10_000,
    "rotate": 180,
    "zoom": 90,
    "blur": 1000,
    "noise": 100,
    "jpeg": 100,
    "darker": 100,
    "brighter": 1000,
    "white_balance": 99,
    "light_gradient": 200,
    "dust": 100_000,
}

_WHOLE = ("shift", "jpeg", "dust")

Strengths = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PerturbationConfig:
    """Strengths of each kind of perturbation; none for a kind that is left out."""

    shift: Strengths = ()
    """Pixels of the photo by which it moves left, right, up or down."""

    rotate: Strengths = ()
    """Degrees by which it turns about its center, either way."""

    zoom: Strengths = ()
    """Percent by which it grows or shrinks about its center."""

    blur: Strengths = ()
    """Standard deviation of a Gaussian blur, in pixels of the photo."""

    noise: Strengths = ()
    """Standard deviation of Gaussian noise, in percent of the range from black to white."""

    jpeg: Strengths = ()
    """Quality of a JPEG that it is saved as and read from, 1 to 100: the lower, the stronger."""

    darker: Strengths = ()
    """Percent that all values lose."""

    brighter: Strengths = ()
    """Percent that all values gain; white stays white."""

    white_balance: Strengths = ()
    """Percent that red gains and blue loses, or the reverse. Gray photos stay as they are."""

    light_gradient: Strengths = ()
    """Percent by which the light differs between two opposite ends: half of it darker, half of it brighter."""

    dust: Strengths = ()
    """Number of gray specks, each with a radius of 0.3 to 0.8 % of the photo's shorter side."""

    __repr__ = brief

    def __post_init__(self) -> None:
        for kind, strength in self.perturbations():
            whole, most = kind in _WHOLE, _MOST[kind]
            fits = 0 < strength <= most and (not whole or float(strength).is_integer())
            require(fits, kind, f"more than 0, at most {most:g}{', whole' * whole}", strength)

    def perturbations(self) -> list[tuple[PerturbationKind, float]]:
        """List every kind with each of its strengths."""
        return [(kind, strength) for kind in get_args(PerturbationKind) for strength in getattr(self, kind)]


@dataclass(frozen=True, kw_only=True)
class StressConfig(PerturbationConfig):
    """Settings of a stress test. They are no part of a run."""

    images: int = 50
    """Most images that are perturbed, evenly spaced among those given; 0 for all of them."""

    defects: int = 25
    """Most of these images into which a synthetic defect is drawn too; 0 for none."""

    confidence: float = 0.95
    """Confidence of the intervals, 0..1."""

    seed: int = 0
    """Seed of directions, noise, specks and defects."""

    shift: Strengths = (1, 2, 4, 8)
    rotate: Strengths = (1, 2, 5)
    zoom: Strengths = (1, 2, 5)
    blur: Strengths = (0.5, 1, 2)
    noise: Strengths = (1, 2, 5)
    jpeg: Strengths = (90, 70, 40)
    darker: Strengths = (10, 20, 40)
    brighter: Strengths = (10, 20, 40)
    white_balance: Strengths = (2, 5, 10)
    light_gradient: Strengths = (10, 20, 40)
    dust: Strengths = (2, 8, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.perturbations()), "stress", "one perturbation or more", "none")
        for name in ("images", "defects", "seed"):
            require(getattr(self, name) >= 0, f"stress.{name}", "0 or more", getattr(self, name))
        require(0 < self.confidence < 1, "stress.confidence", "more than 0 and less than 1", self.confidence)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(PerturbationConfig):
    """Perturbed copies of good images, from which a memory gets rows and which its filter learns to call good."""

    copies: int = 0
    """Perturbed copies for each product, all kinds and strengths in turn; 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.copies >= 0, "augment.copies", "0 or more", self.copies)
        named = bool(self.perturbations())
        require(named or not self.copies, "augment.copies", "0 without a perturbation", self.copies)
