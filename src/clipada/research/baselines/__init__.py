"""Baselines to compare with, on the same images and with the same metrics: four of one model, two of one a product.

A fitted baseline is an ``Engine``, so ``evaluate_dataset`` scores it in the same way as CLIP-ADA::

    context = FitContext(dataset=dataset, image_size=256)
    engine = BASELINES["memory-bank"](context)
    evaluation = evaluate_dataset(engine, dataset, ScoringConfig())

``BASELINES`` has the settings of the papers. For other settings, use
``baseline_fits(BaselinesConfig.preset("prompt"))["draem"]`` or ``fit_draem(context, DraemConfig(width=32))``.
``product_baseline_fits`` has those that are fitted to one category of a data set.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from clipada.config import BaselinesConfig
from clipada.research.baselines.anomaly_dino import fit_anomaly_dino
from clipada.research.baselines.draem import fit_draem, require_halving
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput
from clipada.research.baselines.fitting import Fit, FitContext
from clipada.research.baselines.memory_bank import fit_memory_bank
from clipada.research.baselines.patchcore import fit_patchcore
from clipada.research.baselines.reconstruction import fit_reconstruction, neighbor_mask
from clipada.research.baselines.zero_shot import fit_zero_shot, windows


def baseline_fits(config: BaselinesConfig) -> Mapping[str, Fit]:
    """Return the function that fits each baseline of one model with the given settings, by name."""
    return {
        "memory-bank": partial(fit_memory_bank, settings=config.memory_bank),
        "zero-shot": partial(fit_zero_shot, settings=config.zero_shot),
        "reconstruction": partial(fit_reconstruction, settings=config.reconstruction),
        "draem": partial(fit_draem, settings=config.draem),
    }


def product_baseline_fits(config: BaselinesConfig) -> Mapping[str, Fit]:
    """Return the function that fits each baseline of one model a product with the given settings, by name."""
    return {
        "anomaly-dino": partial(fit_anomaly_dino, settings=config.anomaly_dino),
        "patchcore": partial(fit_patchcore, settings=config.patchcore),
    }


BASELINES: Mapping[str, Fit] = MappingProxyType(baseline_fits(BaselinesConfig()))
"""Function that fits each baseline of one model with its paper's settings, by name."""


def require_size(name: str, config: BaselinesConfig, image_size: int, grid: tuple[int, int]) -> None:
    """Raise ``ConfigError`` if a baseline cannot process images of this size, before anything is fitted.

    Args:
        name: A key of ``BASELINES``.
        config: All settings.
        image_size: Side of the square that images are resized to, in pixels.
        grid: The backbone's grid of patch tokens for such an image, ``(h, w)``.
    """
    if name == "zero-shot":
        for side in config.zero_shot.windows:
            windows(*grid, side)
    elif name == "reconstruction":
        neighbor_mask(grid, config.reconstruction.neighbourhood)
    elif name == "draem":
        require_halving(image_size)


__all__ = [
    "BASELINES",
    "BaselineEngine",
    "Detector",
    "DetectorOutput",
    "Fit",
    "FitContext",
    "baseline_fits",
    "fit_anomaly_dino",
    "fit_draem",
    "fit_memory_bank",
    "fit_patchcore",
    "fit_reconstruction",
    "fit_zero_shot",
    "product_baseline_fits",
    "require_size",
]
