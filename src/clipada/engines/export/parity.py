"""The parity gate: differences between an export and the model in PyTorch on real images, and their tolerances.

An export computes the same function in another order of additions or with fewer bits, so its maps differ. In float32
and half precision the largest difference of a pixel is bounded. A memory's map also depends on which row is nearest:
where two are equally near, the last bit decides, and either is right, so a few of its pixels may differ by more. In
int8 single pixels differ widely while the ranking of images hardly changes, so an int8 export is judged by metrics: by
the loss on labeled test images, or without labels by the rank correlation of image scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from clipada.config import Config, EngineOptions, EnginePrecision, ExportConfig, RuntimeName, ScoringConfig
from clipada.data import Dataset
from clipada.devices import machine
from clipada.engines.aligned import alignment_of
from clipada.engines.export.images import Views, read_views
from clipada.engines.export.practice import Practice
from clipada.engines.export.shortcuts import Cascade, Shortcut, find_shortcuts
from clipada.engines.exports import Export, open_export
from clipada.engines.selection import as_inspecting
from clipada.errors import RunError
from clipada.evaluation.evaluate import evaluate_dataset
from clipada.evaluation.metrics import mean_metrics
from clipada.files import read_json, write_json
from clipada.images.roi import regions_of
from clipada.scoring import score_passes
from clipada.types import Engine, Progress, ProgressReport, unreported

PARITY = "exports/parity.json"
"""File of a run with the parity of all its exports."""

JUDGED = ("image_auroc", "pixel_ap")
"""Metrics that an int8 export is judged by."""

_REFUSED = " (refused)"


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences between two engines on the same images.

    Attributes:
        images: Number of images compared; with tiles, each tile counts as one.
        max_map_error: Largest difference of a raw map's pixel in each pass, coarse first. NaN counts as a difference
            of 1, the largest possible.
        mean_map_error: Mean absolute difference of the raw maps in each pass.
        share_beyond: Share of all pixels, 0..1, that differ by more than the precision's tolerance, in the pass where
            it is largest.
        max_score_error: Largest difference of an image score.
        rank_correlation: Spearman's correlation of the image scores; ``None`` if an engine's are all equal or not
            finite.
    """

    images: int
    max_map_error: tuple[float, ...]
    mean_map_error: tuple[float, ...]
    share_beyond: float
    max_score_error: float
    rank_correlation: float | None


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Agreement of an export with the model in PyTorch.

    Attributes:
        engine: The export's runtime.
        precision: Its arithmetic.
        machine: Processor or GPU that both ran on.
        differences: Differences on real images.
        metrics: Mean metrics of ``torch`` and ``export`` on labeled test images, 0..1; ``None`` if not judged by them.
        shortcut: Effect of the shortcut; ``None`` without refinement passes or with too few normal images.
        cascade: Effect of the cascade; ``None`` likewise.
        failures: Descriptions of differences beyond tolerance; empty if the export is good.
        practice: Verdicts, size and time; ``None`` until they are measured.
    """

    engine: RuntimeName
    precision: EnginePrecision
    machine: str
    differences: Differences
    metrics: dict[str, dict[str, float]] | None
    shortcut: Shortcut | None
    cascade: Cascade | None
    failures: tuple[str, ...]
    practice: Practice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, ready for JSON."""
        return asdict(self)

    def describe(self) -> tuple[str, ...]:
        """Describe the differences in short lines."""
        found, lines = self.differences, [self.describe_maps()]
        if self.metrics:
            torch, export = self.metrics["torch"], self.metrics["export"]
            lines += [
                f"{name}: torch {100 * torch[name]:.2f}, export {100 * export[name]:.2f} percent" for name in torch
            ]
        lines += [found.describe() for found in (self.shortcut, self.cascade) if found is not None]
        if self.shortcut is None and len(found.max_map_error) > 1:
            lines.append("shortcut, cascade: off, too few normal images to measure their error")
        use = () if self.practice is None else self.practice.describe(self.machine)
        return (*use, *lines, *self.failures)

    def describe_maps(self) -> str:
        """Describe the differences of maps and scores in one line."""
        found = self.differences
        passes = ", ".join(f"pass {index} {error:.1e}" for index, error in enumerate(found.max_map_error))
        worst = f"maps {passes}; scores {found.max_score_error:.1e}"
        return f"{found.images} images, largest differences from torch: {worst}"


def judge(
    reference: Engine,
    made: Export,
    folder: Path,
    dataset: Dataset,
    settings: Config,
    config: ExportConfig,
    report: ProgressReport = unreported,
) -> Parity:
    """Compare the export in ``folder`` with the model, and measure its shortcuts; ``report`` the steps.

    ``reference`` is the engine of PyTorch in the view that the run reads, which aligns images if the run does.
    """
    exported = open_export(folder, made, EngineOptions(device="cpu"), reference.rules)
    viewed = as_inspecting(exported, settings.inspection, regions_of(reference), alignment_of(reference))
    views = read_views(reference, dataset.samples, config.images)
    differences = compare(reference, viewed, views, settings.scoring, config.map_error(made.precision), report)
    scored = made.precision == "int8"
    metrics = judged_metrics(reference, viewed, dataset, settings.scoring, report) if scored else None
    shortcut, cascade = find_shortcuts(exported, dataset, settings, config) or (None, None)
    return Parity(
        engine=made.engine,
        precision=made.precision,
        machine=machine("cpu"),
        differences=differences,
        metrics=metrics,
        shortcut=shortcut,
        cascade=cascade,
        failures=beyond_tolerance(made.precision, differences, metrics, config, memory=bool(made.products)),
    )


def record_parity(path: Path, name: str, parity: Parity, *, refused: bool) -> None:
    """Write the parity of an export into ``parity.json``, beside those of other exports.

    A refused export gets an entry of its own, so that the entry of an earlier export that was kept remains.
    """
    try:
        others = read_json(path, "")
    except RunError:  # missing or damaged: start a new file
        others = {}
    others.pop(f"{name}{_REFUSED}", None)
    write_json(path, others | {f"{name}{_REFUSED}" if refused else name: parity.to_dict()})


def compare(
    reference: Engine,
    exported: Engine,
    views: Views,
    scoring: ScoringConfig,
    tolerance: float = ExportConfig.fp32_error,
    report: ProgressReport = unreported,
) -> Differences:
    """Run both engines on the same views, one at a time."""
    worst, means, beyond = (np.zeros((len(views), reference.passes)) for _ in range(3))
    scores = np.zeros((2, len(views)))
    for index in range(len(views)):
        both = [views.localized(engine, index) for engine in (reference, exported)]
        error = np.nan_to_num(np.abs(both[0].maps[:, 0] - both[1].maps[:, 0]), nan=1.0)
        worst[index], means[index] = error.max(axis=(1, 2)), error.mean(axis=(1, 2))
        beyond[index] = (error > tolerance).mean(axis=(1, 2))
        scores[:, index] = [score_passes(found.maps[:, 0], scoring, found.score(0))[1][-1] for found in both]
        report(Progress(stage="comparing", done=index + 1, total=len(views)))
    return Differences(
        images=len(views),
        max_map_error=tuple(worst.max(axis=0).tolist()),
        mean_map_error=tuple(means.mean(axis=0).tolist()),
        share_beyond=float(beyond.mean(axis=0).max()),
        max_score_error=float(np.nan_to_num(np.abs(scores[0] - scores[1]), nan=1.0).max()),
        rank_correlation=_rank_correlation(scores),
    )


def judged_metrics(
    reference: Engine,
    exported: Engine,
    dataset: Dataset,
    scoring: ScoringConfig,
    report: ProgressReport = unreported,
) -> dict[str, dict[str, float]] | None:
    """Compute the mean metrics of both engines on labeled test images; ``None`` unless these are of both kinds."""
    if len({sample.anomalous for sample in dataset.test}) < 2:
        return None
    found, scored = {}, count(1)

    def reported(_: object) -> None:
        report(Progress(stage="scoring", done=next(scored), total=2 * len(dataset.test)))

    for name, engine in (("torch", reference), ("export", exported)):
        categories = evaluate_dataset(engine, dataset, scoring, on_image=reported).categories
        mean = mean_metrics(categories.values()).to_dict()
        found[name] = {metric: value for metric in JUDGED if (value := mean[metric]) is not None}
    return found if found["torch"] else None  # no category with images of both kinds


def beyond_tolerance(
    precision: EnginePrecision,
    differences: Differences,
    metrics: dict[str, dict[str, float]] | None,
    config: ExportConfig,
    *,
    memory: bool = False,
) -> tuple[str, ...]:
    """Describe all differences beyond tolerance; ``memory``: the maps are those of a memory, so that rows may tie."""
    if precision != "int8":
        return tuple(_beyond_error(differences, config.map_error(precision), memory, config))
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
        return ("image scores cannot be ranked: they are all equal",)
    if not correlation >= config.rank_correlation:
        return (f"image scores rank-correlate by {correlation:.3f}, less than {config.rank_correlation}",)
    return ()


def _beyond_error(found: Differences, limit: float, memory: bool, config: ExportConfig) -> Iterator[str]:
    """Describe differences beyond ``limit``, but for the pixels of a memory that ties explain."""
    worst = max(found.max_map_error)
    if worst > limit and not (memory and worst <= config.tie_error and found.share_beyond <= config.tie_share):
        yield f"maps differ by {worst:.1e}, more than {limit:.0e}"
    if memory and found.max_score_error > limit:
        yield f"scores differ by {found.max_score_error:.1e}, more than {limit:.0e}"


def _rank_correlation(scores: NDArray[np.float64]) -> float | None:
    """Compute Spearman's correlation of two rows; ``None`` if it is not defined."""
    if not np.isfinite(scores).all() or np.any(np.ptp(scores, axis=1) == 0):
        return None
    return float(np.corrcoef([rankdata(row) for row in scores])[0, 1])
