"""Presets: named sets of changes to the default settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["quick", "accurate", "prompt", "demo", "mvtec", "visa"]

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "quick": {
        "model.refinements": 0,
        "model.similarity": "cosine",
        "training.epochs": 0,
        "training.milestones": (),
        "memory.rows": 13_000,
    },
    "prompt": {
        "model.similarity": "cosine",
        "model.attention": "residual",
        "model.prototypes": 1024,
        "scoring.fusion": "mean",
        "training.epochs": 8,
        "training.batch_size": 16,
        "training.milestones": (4, 7),
    },
    "accurate": {
        "backbone.levels": "several",
        "model.refinements": 0,
        "model.similarity": "cosine",
        "training.epochs": 0,
        "training.milestones": (),
        "model.image_patches": 32,
        "memory.rows": 13_000,
        "memory.crop": True,
        "memory.weight": 2.0,
        "memory.share": 0.002,
        "filter.images": 200,
        "filter.scale": 0.72,
        "filter.steps": 300,
        "scoring.sigma": 3.0,
    },
    "demo": {
        "backbone.name": "nano",
        "model.similarity": "cosine",
        "model.refinements": 0,
        "model.prototypes": 4096,
        "model.prototype_weight": 2.0,
        "model.prototypes_first": True,
        "synthesis.rotate_probability": 0.0,
        "training.epochs": 3,
        "training.batch_size": 16,
        "training.milestones": (2,),
        "training.precision": "auto",
    },
    "mvtec": {"training.epochs": 800, "training.batch_size": 16, "training.milestones": (400, 700)},
    "visa": {"training.epochs": 500, "training.batch_size": 64, "training.milestones": (250,)},
}
"""By preset, settings by dotted name."""

DEFAULT_PRESET: Preset = "prompt"
"""The preset of a training that names none, for a backbone with a text tower."""

DEFAULT_VISION_PRESET: Preset = "accurate"
"""The preset of a training that names none, for a backbone without one."""
