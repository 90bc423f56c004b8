"""What the method is compared with: four baselines on the same features, data and protocol, one model each.

A fitted baseline is an ``Engine``, so that ``evaluate_dataset`` scores it as it scores the method::

    engine = BASELINES["memory-bank"](dataset, BackboneConfig(), 256)
    evaluation = evaluate_dataset(engine, dataset, ScoringConfig())

Other settings than the papers' go in by ``baseline_fits(BaselinesConfig.preset("quick"))["draem"]``, or by
``functools.partial(fit_draem, settings=DraemConfig(width=32))``; both are a ``Fit`` again.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from clipada.config import BaselinesConfig
from clipada.research.baselines.draem import fit_draem, require_halving
from clipada.research.baselines.engine import BaselineEngine, Detector, Findings
from clipada.research.baselines.fitting import Fit, FitProgress
from clipada.research.baselines.memory_bank import fit_memory_bank
from clipada.research.baselines.reconstruction import fit_reconstruction, neighbour_mask
from clipada.research.baselines.zero_shot import fit_zero_shot, windows

BASELINES: Mapping[str, Fit] = MappingProxyType(
    {
        "memory-bank": fit_memory_bank,
        "zero-shot": fit_zero_shot,
        "reconstruction": fit_reconstruction,
        "draem": fit_draem,
    }
)
"""By name, what fits a baseline."""


def baseline_fits(config: BaselinesConfig) -> Mapping[str, Fit]:
    """By name, what fits a baseline with the settings given."""
    return {
        "memory-bank": partial(fit_memory_bank, settings=config.memory_bank),
        "zero-shot": partial(fit_zero_shot, settings=config.zero_shot),
        "reconstruction": partial(fit_reconstruction, settings=config.reconstruction),
        "draem": partial(fit_draem, settings=config.draem),
    }


def require_size(name: str, config: BaselinesConfig, image_size: int, grid: tuple[int, int]) -> None:
    """Raise ``ConfigError`` if a baseline cannot take images of this size, before anything is fitted.

    Args:
        name: A key of ``BASELINES``.
        config: All settings.
        image_size: Side of the square that images are resized to, in pixels.
        grid: The backbone's tokens in such an image, ``(h, w)``.
    """
    if name == "zero-shot":
        for side in config.zero_shot.windows:
            windows(*grid, side)
    elif name == "reconstruction":
        neighbour_mask(grid, config.reconstruction.neighbourhood)
    elif name == "draem":
        require_halving(image_size)


__all__ = [
    "BASELINES",
    "BaselineEngine",
    "Detector",
    "Findings",
    "Fit",
    "FitProgress",
    "baseline_fits",
    "fit_draem",
    "fit_memory_bank",
    "fit_reconstruction",
    "fit_zero_shot",
    "require_size",
]
