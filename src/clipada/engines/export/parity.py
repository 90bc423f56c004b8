"""Does an export say what the model says? Differences on real images, and when they are too large."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from clipada.config import EnginePrecision, ExportConfig, RuntimeName, ScoringConfig
from clipada.data import Dataset
from clipada.engines.export.shortcuts import Cascade, Shortcut
from clipada.evaluation.evaluate import evaluate_dataset
from clipada.evaluation.metrics import mean_metrics
from clipada.scoring import final_map, image_score
from clipada.types import Engine

Images = NDArray[np.uint8]

JUDGED = ("image_auroc", "pixel_ap")
"""The metrics that int8 is judged by."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How far two engines lie from one another on the same images.

    Attributes:
        images: How many images were compared.
        max_map_error: Largest difference of a raw map's pixel, each pass, coarse first. What is no
            number differs by 1, the most there can be.
        mean_map_error: Mean absolute difference of the raw maps, each pass.
        max_score_error: Largest difference of an image score.
        rank_correlation: Spearman's, of the image scores; ``None`` if an engine's are all alike or not finite.
    """

    images: int
    max_map_error: tuple[float, ...]
    mean_map_error: tuple[float, ...]
    max_score_error: float
    rank_correlation: float | None


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Whether an export says what the model in PyTorch says.

    Attributes:
        engine: The export's runtime.
        precision: Its arithmetic.
        machine: The processor or GPU both ran on.
        differences: Their differences on real images.
        metrics: Mean metrics of ``torch`` and ``export`` on labelled test images, 0..1, where they were judged by them.
        shortcut: What the shortcut changes; ``None`` without refinement passes or with too few normal images.
        cascade: What the cascade changes, alike.
        failures: What is beyond tolerance, in words; empty if the export is good.
    """

    engine: RuntimeName
    precision: EnginePrecision
    machine: str
    differences: Differences
    metrics: dict[str, dict[str, float]] | None
    shortcut: Shortcut | None
    cascade: Cascade | None
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def describe(self) -> tuple[str, ...]:
        """The differences in short lines."""
        found = self.differences
        passes = ", ".join(f"pass {index} {error:.1e}" for index, error in enumerate(found.max_map_error))
        lines = [
            f"{found.images} images, largest differences from torch: maps {passes}; scores {found.max_score_error:.1e}"
        ]
        if self.metrics:
            torch, export = self.metrics["torch"], self.metrics["export"]
            lines += [
                f"{name}: torch {100 * torch[name]:.2f}, export {100 * export[name]:.2f} percent" for name in torch
            ]
        lines += [found.describe() for found in (self.shortcut, self.cascade) if found is not None]
        if self.shortcut is None and len(found.max_map_error) > 1:
            lines.append("shortcut, cascade: off, too few normal images to judge them by")
        return (*lines, *self.failures)


def compare(reference: Engine, exported: Engine, images: Images, scoring: ScoringConfig) -> Differences:
    """Run both engines on the same images, ``(N, S, S, 3)`` uint8, one after another."""
    worst, means = (np.zeros((len(images), reference.passes)) for _ in range(2))
    scores = np.zeros((2, len(images)))
    for index in range(len(images)):
        both = [engine.localise_passes(images[index : index + 1])[:, 0] for engine in (reference, exported)]
        error = np.nan_to_num(np.abs(both[0] - both[1]), nan=1.0)
        worst[index], means[index] = error.max(axis=(1, 2)), error.mean(axis=(1, 2))
        scores[:, index] = [image_score(final_map(raw, scoring), scoring) for raw in both]
    return Differences(
        images=len(images),
        max_map_error=tuple(worst.max(axis=0).tolist()),
        mean_map_error=tuple(means.mean(axis=0).tolist()),
        max_score_error=float(np.nan_to_num(np.abs(scores[0] - scores[1]), nan=1.0).max()),
        rank_correlation=_rank_correlation(scores),
    )


def judged_metrics(
    reference: Engine, exported: Engine, dataset: Dataset, scoring: ScoringConfig
) -> dict[str, dict[str, float]] | None:
    """The mean metrics of both engines on the labelled test images; ``None`` where there is nothing to tell apart."""
    if len({sample.anomalous for sample in dataset.test}) < 2:
        return None
    found = {}
    for name, engine in (("torch", reference), ("export", exported)):
        mean = mean_metrics(evaluate_dataset(engine, dataset, scoring).categories.values()).to_dict()
        found[name] = {metric: value for metric in JUDGED if (value := mean[metric]) is not None}
    return found if found["torch"] else None  # no category with images of both kinds


def beyond_tolerance(
    precision: EnginePrecision,
    differences: Differences,
    metrics: dict[str, dict[str, float]] | None,
    config: ExportConfig,
) -> tuple[str, ...]:
    """What is beyond tolerance, in words."""
    if precision != "int8":
        limit = config.fp32_error if precision == "fp32" else config.half_error
        worst = max(differences.max_map_error)
        return () if worst <= limit else (f"maps differ by {worst:.1e}, more than {limit:.0e}",)
    if metrics:
        limits = {"image_auroc": config.image_auroc_loss, "pixel_ap": config.pixel_ap_loss}
        losses = {name: value - metrics["export"].get(name, -np.inf) for name, value in metrics["torch"].items()}
        return tuple(
            f"{name} loses {100 * loss:.2f} points, more than {100 * limits[name]:g}"
            for name, loss in losses.items()
            if not loss <= limits[name]
        )
    correlation = differences.rank_correlation
    if correlation is None:
        return ("image scores cannot be ranked: they are all alike",)
    if not correlation >= config.rank_correlation:
        return (f"image scores rank-correlate by {correlation:.3f}, less than {config.rank_correlation}",)
    return ()


def _rank_correlation(scores: NDArray[np.float64]) -> float | None:
    """Spearman's, of two rows."""
    if not np.isfinite(scores).all() or np.any(np.ptp(scores, axis=1) == 0):
        return None
    return float(np.corrcoef([rankdata(row) for row in scores])[0, 1])
