"""Does an export say what the model says? Differences on real images, and when they are too large."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from clipada.config import EnginePrecision, ExportConfig, RuntimeName, ScoringConfig
from clipada.data import Dataset
from clipada.engines import Engine
from clipada.engines.graph import GraphEngine, hot_patches
from clipada.evaluation import evaluate_dataset
from clipada.metrics import mean_metrics
from clipada.scoring import counting_map, image_score

Images = NDArray[np.uint8]

COLD_LEVELS = (0.32, 0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
"""Attention that may count as cold, the boldest first."""

JUDGED = ("image_auroc", "pixel_ap")
"""The metrics that int8 is judged by."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Below which attention a patch needs no refinement, and what that was measured to change.

    Attributes:
        bound: The largest difference that was allowed: of a normal image's anomaly map, and of any image's score.
        cold_below: Patches whose attention stays below this are not refined; 0 if no value is known to keep to the
            bound.
        chosen_on: Number of images the value was chosen on, half of them with a synthetic anomaly.
        checked_on: Number of other images it was then checked on.
        refined_normal: Share of the patches that were refined in the normal ones of those.
        refined_anomalous: The same of those with an anomaly.
        map_error: Largest difference of a pixel of a normal image's anomaly map, with the shortcut and without.
        anomalous_map_error: The same of images with an anomaly. It is not bounded: a large hot region changes what cold
            patches around it would have seen.
        score_error: Largest difference of an image score, of either.
    """

    bound: float
    cold_below: float
    chosen_on: int
    checked_on: int
    refined_normal: float
    refined_anomalous: float
    map_error: float
    anomalous_map_error: float
    score_error: float


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How far two engines lie from one another on the same images.

    Attributes:
        images: How many images were compared.
        max_map_error: Largest difference of a raw map's pixel, each pass, coarse first.
        mean_map_error: Mean absolute difference of the raw maps, each pass.
        max_score_error: Largest difference of an image score.
        rank_correlation: Spearman's, of the image scores; ``None`` if they are all alike.
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
        shortcut: What the shortcut changes; ``None`` without refinement passes.
        failures: What is beyond tolerance, in words; empty if the export is good.
    """

    engine: RuntimeName
    precision: EnginePrecision
    machine: str
    differences: Differences
    metrics: dict[str, dict[str, float]] | None
    shortcut: Shortcut | None
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
        if self.shortcut is not None:
            lines.append(_describe(self.shortcut))
        return (*lines, *self.failures)


def compare(reference: Engine, exported: Engine, images: Images, scoring: ScoringConfig) -> Differences:
    """Run both engines on the same images, ``(N, S, S, 3)`` uint8, one after another."""
    worst, means = (np.zeros((len(images), reference.passes)) for _ in range(2))
    scores = np.zeros((2, len(images)))
    for index in range(len(images)):
        both = [engine.localise_passes(images[index : index + 1])[:, 0] for engine in (reference, exported)]
        error = np.abs(both[0] - both[1])
        worst[index], means[index] = error.max(axis=(1, 2)), error.mean(axis=(1, 2))
        scores[:, index] = [image_score(counting_map(raw, scoring), scoring) for raw in both]
    return Differences(
        images=len(images),
        max_map_error=tuple(worst.max(axis=0).tolist()),
        mean_map_error=tuple(means.mean(axis=0).tolist()),
        max_score_error=float(np.abs(scores[0] - scores[1]).max()),
        rank_correlation=_rank_correlation(scores),
    )


def measure_shortcut(
    exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig, bound: float
) -> Shortcut | None:
    """Find below which attention patches need no refinement, on every other image, and check it on the rest.

    The value is the highest of ``COLD_LEVELS`` with which no normal image's anomaly map and no image score changes by
    more than half the ``bound``. It is dropped (0) if an image that it was not chosen on then changes by more than it.

    Args:
        exported: The export, without its shortcut.
        normal: Normal images ``(N, S, S, 3)`` uint8.
        anomalous: Images with anomalies, alike.
        scoring: How maps are smoothed and scored.
        bound: Largest difference allowed.

    Returns:
        ``None`` without refinement passes, or with a single normal image.
    """
    if exported.passes == 1 or len(normal) < 2:
        return None
    choosing, checking = (_Refinement(exported, normal[at::2], anomalous[at::2], scoring) for at in (0, 1))
    cold_below = next((level for level in COLD_LEVELS if choosing.changes(level).bounded <= bound / 2), 0.0)
    changes = checking.changes(cold_below)
    return Shortcut(
        bound=bound,
        cold_below=cold_below if changes.bounded <= bound else 0.0,
        chosen_on=len(choosing.images),
        checked_on=len(checking.images),
        refined_normal=checking.share(cold_below, checking.normal),
        refined_anomalous=checking.share(cold_below, ~checking.normal),
        map_error=changes.normal_maps,
        anomalous_map_error=changes.anomalous_maps,
        score_error=changes.scores,
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
    return found


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
        losses = {name: value - metrics["export"][name] for name, value in metrics["torch"].items()}
        return tuple(
            f"{name} loses {100 * loss:.2f} points, more than {100 * limits[name]:g}"
            for name, loss in losses.items()
            if not loss <= limits[name]
        )
    correlation = differences.rank_correlation
    if correlation is not None and not correlation >= config.rank_correlation:
        return (f"image scores rank-correlate by {correlation:.3f}, less than {config.rank_correlation}",)
    return ()


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """The largest differences that less refinement brings."""

    normal_maps: float
    anomalous_maps: float
    scores: float

    @property
    def bounded(self) -> float:
        """The largest of those that a shortcut must keep to."""
        return max(self.normal_maps, self.scores)


class _Refinement:
    """An export's full refinement of some images, to compare less of it with."""

    def __init__(self, exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig) -> None:
        self.exported, self.scoring = exported, scoring
        self.images = np.concatenate([normal, anomalous])
        self.normal = np.arange(len(self.images)) < len(normal)
        self.raw = np.stack([exported.localise_passes(image[np.newaxis])[:, 0] for image in self.images])
        self.maps = [counting_map(raw, scoring) for raw in self.raw]

    def changes(self, cold_below: float) -> _Changes:
        """How far maps and scores change when colder patches are not refined."""
        short = self.exported.with_shortcut(cold_below)
        maps, scores = np.zeros((2, len(self.images)))
        for index, (image, full) in enumerate(zip(self.images, self.maps, strict=True)):
            less = counting_map(short.localise_passes(image[np.newaxis])[:, 0], self.scoring)
            maps[index] = np.abs(full - less).max()
            scores[index] = abs(image_score(full, self.scoring) - image_score(less, self.scoring))
        return _Changes(
            normal_maps=float(maps[self.normal].max()),
            anomalous_maps=float(maps[~self.normal].max()),
            scores=float(scores.max()),
        )

    def share(self, cold_below: float, some: NDArray[np.bool_]) -> float:
        """The share of patches that are refined, over all refinement passes of some of the images."""
        raw = self.raw[some, :-1]
        heat = raw.reshape(-1, *raw.shape[2:])
        return float(hot_patches(heat, self.exported.shape.grid, cold_below).mean())


def _rank_correlation(scores: NDArray[np.float64]) -> float | None:
    """Spearman's, of two rows."""
    ranks = np.stack([rankdata(row) for row in scores])
    return float(np.corrcoef(ranks)[0, 1]) if np.all(np.ptp(ranks, axis=1) > 0) else None


def _describe(shortcut: Shortcut) -> str:
    if not shortcut.cold_below:
        return f"shortcut: off, none was found that changes maps and scores by no more than {shortcut.bound:g}"
    return (
        f"shortcut: where attention is {shortcut.cold_below:g} or more, {100 * shortcut.refined_normal:.0f} % of the "
        f"patches of normal images and {100 * shortcut.refined_anomalous:.0f} % with synthetic anomalies; of "
        f"{shortcut.checked_on} images maps change by {shortcut.map_error:.1e} (normal) and "
        f"{shortcut.anomalous_map_error:.1e} (anomalous) at most, scores by {shortcut.score_error:.1e}"
    )
