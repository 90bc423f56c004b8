"""Relative costs of the runs, counted in forward passes of an image through the backbone: for rough plans."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.config import BaselinesConfig, Config

DRAEM_PASSES = 12
"""Passes that cost as much as both of DRAEM's networks at the paper's width: passes of the paper's backbone."""

DRAEM_WIDTH = 128
"""The paper's width. Cost is taken as proportional to width: less than the arithmetic, which grows with the square,
because narrow convolutions are limited by memory."""

BACKWARD = 2
"""Cost of a backward pass in forward passes: one for the gradients of the inputs, one for those of the weights."""


@dataclass(frozen=True, kw_only=True)
class BaselineCost:
    """Cost of a baseline in passes of the backbone.

    Attributes:
        learning: For each image of an epoch.
        scoring: For each scored image.
        reading: For each training image, once before the first epoch.
    """

    learning: float
    scoring: float
    reading: float = 0.0


def training_passes(config: Config) -> int:
    """Count the passes of an image through the vision tower in one training step of CLIP-ADA.

    The forward pass counts once for each of ``R + 1`` maps. The gradient to the input counts once more for each map
    that depends on an earlier map, or, with a tuned image encoder, for all of them; the gradients of tuned weights
    count once more. The text tower encodes one prompt per batch and is not counted.
    """
    forward = config.model.refinements + 1
    if config.training.tunes_images:
        return forward * (1 + BACKWARD)
    return forward + (0 if config.model.detach_attention else config.model.refinements)


def inference_passes(config: Config) -> int:
    """Count the passes of an image through the vision tower in inference: one per map."""
    return config.model.refinements + 1


def baseline_cost(name: str, settings: BaselinesConfig) -> BaselineCost:
    """Estimate the cost of a baseline; independent of the backbone, and rough.

    Args:
        name: A key of ``BASELINES``.
        settings: The settings of all baselines.
    """
    if name == "memory-bank":  # one pass, and a search as long as another; the core-set takes a few per image
        return BaselineCost(learning=4, scoring=2)
    if name == "zero-shot":  # the image, and every patch once in each of the side^2 windows that contain it
        return BaselineCost(learning=0, scoring=1 + sum(side**2 for side in settings.zero_shot.windows))
    if name == "reconstruction":  # one pass for the tokens; the transformer is much smaller than the backbone
        return BaselineCost(learning=2, scoring=1, reading=1)
    scoring = DRAEM_PASSES * settings.draem.width / DRAEM_WIDTH
    return BaselineCost(learning=(1 + BACKWARD) * scoring, scoring=scoring)
