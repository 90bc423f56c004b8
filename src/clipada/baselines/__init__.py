"""What the method is compared with: four baselines on the same features, data and protocol, one model each.

A fitted baseline is an ``Engine``, so that ``evaluate_dataset`` scores it as it scores the method::

    engine = BASELINES["memory-bank"](dataset, BackboneConfig(), 256)
    evaluation = evaluate_dataset(engine, dataset, ScoringConfig())

Other settings than the papers' go in by ``functools.partial(fit_draem, settings=DraemConfig(width=32))``, which is a
``Fit`` again.
"""

from collections.abc import Mapping
from types import MappingProxyType

from clipada.baselines.draem import fit_draem
from clipada.baselines.engine import BaselineEngine, Detector, Findings
from clipada.baselines.fitting import Fit, FitProgress
from clipada.baselines.memory_bank import fit_memory_bank
from clipada.baselines.reconstruction import fit_reconstruction
from clipada.baselines.zero_shot import fit_zero_shot

BASELINES: Mapping[str, Fit] = MappingProxyType(
    {
        "memory-bank": fit_memory_bank,
        "zero-shot": fit_zero_shot,
        "reconstruction": fit_reconstruction,
        "draem": fit_draem,
    }
)
"""By name, what fits a baseline."""

__all__ = [
    "BASELINES",
    "BaselineEngine",
    "Detector",
    "Findings",
    "Fit",
    "FitProgress",
    "fit_draem",
    "fit_memory_bank",
    "fit_reconstruction",
    "fit_zero_shot",
]
