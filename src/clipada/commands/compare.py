"""Compare a run with other runs and with baselines on a data set's test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from clipada.config import BaselinesConfig, BatchConfig, EngineKeywords, EngineOptions, RuntimeConfig
from clipada.config.schema import require
from clipada.data import Dataset, load_dataset
from clipada.evaluation.findings import without_learned
from clipada.files import lock_folder
from clipada.inspection import Inspector
from clipada.research.comparison import (
    ComparedBaseline,
    ComparedMethod,
    MethodFolder,
    ScoringOptions,
    compared_methods,
    finish_baseline,
    parse_baseline,
    score_engine,
    with_budget,
    write_comparison,
)
from clipada.research.paper.experiments import listing_sha256
from clipada.runs import Run, read_run
from clipada.runs.roi import load_roi
from clipada.training.checkpoint import fingerprint
from clipada.types import Progress, ProgressReport, labeled, unreported

METHODS = "methods"
"""Folder in OUT with a folder for each method's results."""

DEFAULT_BASELINES = ("anomaly-dino", "patchcore")
"""Baselines that need no training and no text tower."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run compared with other methods.

    Attributes:
        rows: The methods, the run first.
        files: The files that were written: the table as Markdown and as JSON.
    """

    rows: tuple[ComparedMethod, ...]
    files: tuple[Path, ...]


def compare(
    run: Path | str,
    data: Path | str | Dataset,
    out: Path | str,
    *,
    runs: Sequence[Path | str] = (),
    baselines: Sequence[str] = DEFAULT_BASELINES,
    settings: BaselinesConfig | None = None,
    resamples: int = 1000,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> Comparison:
    """Score a run, other runs and baselines on the same test images, and write their differences with intervals.

    Test images that a run was shown as known defects are left out for all methods.

    Every method's results are kept in ``OUT/methods``, in a folder named by a hash of everything that determines them,
    so that an interrupted comparison continues, and a new run is compared with baselines that are finished.

    Args:
        run: The run folder.
        data: A data set or its folder; the baselines learn from its training images.
        out: The folder for the results.
        runs: Further run folders to compare with.
        baselines: Baselines to compare with, each by its name and any of its settings, e.g.
            ``"anomaly-dino block=6 shots=0"``.
        settings: The settings of baselines that are not named there; by default networks small enough for a CPU.
            ``patchcore`` has as many rows as the run, unless its name is followed by others.
        resamples: Number of draws of the test images behind the intervals.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        report: Called after every step.
        engine: As for ``EngineKeywords``.

    Raises:
        ConfigError: There is no such baseline or setting.
        DatasetError: There are no images to learn from or to test on.
        RunError: A run folder or a result is damaged, or another process uses ``out``.
        BackboneError: The backbone is missing, or of another family than a baseline needs.
    """
    require(resamples >= 1, "resamples", "1 or more", resamples)
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_test()
    described = [read_run(Path(folder)) for folder in (run, *runs)]
    dataset, _ = without_learned(dataset, frozenset().union(*(one.defect_sha256s for one in described)))
    settings = with_budget(settings or BaselinesConfig.preset("prompt"), described[0].config)
    chosen = [parse_baseline(text, settings) for text in baselines]
    if chosen:
        dataset.require_training()
    options = ScoringOptions(batch_size=batch_size, workers=workers, report=report)
    folder = Path(out)
    with lock_folder(folder):
        kept = [_finish_run(one, dataset, folder / METHODS, options, engine) for one in described]
        kept += [_finish_baseline(one, described[0], dataset, folder / METHODS, options, engine) for one in chosen]
        report(Progress(stage="comparing", done=1, total=1))
        rows = compared_methods([one.read(dataset) for one in kept], resamples)
        facts = {"data": dataset.root.resolve().name, "resamples": resamples}
        return Comparison(rows=rows, files=write_comparison(folder, rows, facts))


def _finish_run(run: Run, dataset: Dataset, out: Path, options: ScoringOptions, engine: EngineKeywords) -> MethodFolder:
    """Score a run, unless that is done."""
    asked = EngineOptions.of(**engine)
    identity = (run.model_sha256, asked.name, asked.precision, asked.shortcut, asked.cascade, listing_sha256(dataset))
    kept = MethodFolder(out / f"run-{fingerprint(*identity)[:10]}", run.label)
    if kept.missing(dataset):
        inspector = Inspector.load(run, calibrated=False, **engine)
        named = replace(options, report=labeled(options.report, run.label))
        how = {"run": str(run.folder.resolve()), "model_sha256": run.model_sha256, "engine": inspector.engine_name}
        score_engine(inspector.engine, dataset, inspector.scoring, kept, how, named)
    return kept


def _finish_baseline(
    baseline: ComparedBaseline,
    run: Run,
    dataset: Dataset,
    out: Path,
    options: ScoringOptions,
    engine: EngineKeywords,
) -> MethodFolder:
    """Fit and score a baseline on a run's backbone, unless that is done."""
    asked = EngineOptions.of(**engine)
    config = run.config if asked.backbone is None else run.config.updated({"backbone.name": asked.backbone})
    runtime = RuntimeConfig(device=asked.device, workers=0)
    inside = replace(options, regions=load_roi(run))
    return finish_baseline(baseline, dataset, config, run.backbone_sha256, out, runtime, inside)
