"""Baselines of a comparison: reading of their names and settings, fitting, and scoring of any engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, get_type_hints

from clipada.config import (
    PRODUCT_BASELINE_NAMES,
    AnomalyDinoConfig,
    BaselinesConfig,
    BaselineSettings,
    BatchConfig,
    Config,
    RuntimeConfig,
    ScoringConfig,
)
from clipada.config.image_rules import ImageRules
from clipada.config.schema import checked, parse, require
from clipada.data import Dataset
from clipada.devices import machine
from clipada.errors import ConfigError
from clipada.evaluation.evaluate import Evaluation, ScoredImage, evaluate_dataset
from clipada.evaluation.metrics import CategoryMetrics
from clipada.evaluation.paired import ScoreCollector
from clipada.files import ensure_folder
from clipada.images import completed_rules
from clipada.images.roi import RegionsOfInterest
from clipada.research.baselines import Fit, FitContext, baseline_fits, product_baseline_fits
from clipada.research.comparison.folders import MethodFolder
from clipada.research.paper.experiments import listing_sha256
from clipada.training.checkpoint import fingerprint
from clipada.types import Engine, Progress, ProgressReport, labeled


@dataclass(frozen=True, kw_only=True)
class ComparedBaseline:
    """A baseline and its settings.

    Attributes:
        label: Name and changed settings, as a person wrote them.
        name: A key of ``baseline_fits`` or ``product_baseline_fits``.
        settings: The settings of all baselines, of which it uses its own.
    """

    label: str
    name: str
    settings: BaselinesConfig

    @property
    def one_a_product(self) -> bool:
        """True if it is fitted to each product alone."""
        return self.name in PRODUCT_BASELINE_NAMES

    @property
    def own(self) -> BaselineSettings:
        """Its own settings."""
        return self.settings.of(self.name)

    @property
    def fit(self) -> Fit:
        """The function that fits it."""
        fits = product_baseline_fits(self.settings) if self.one_a_product else baseline_fits(self.settings)
        return fits[self.name]


def with_budget(settings: BaselinesConfig, config: Config) -> BaselinesConfig:
    """Return settings whose PatchCore keeps as many rows of a product as a run does in all its views."""
    memory = config.memory
    rows = memory.rows * (2 if memory.whole else 1)
    return replace(settings, patchcore=replace(settings.patchcore, rows=rows)) if rows else settings


def parse_baseline(text: str, settings: BaselinesConfig) -> ComparedBaseline:
    """Read a baseline and its settings, e.g. ``"anomaly-dino block=6 shots=0"``.

    Args:
        text: Its name, and any of its settings.
        settings: The settings that are not named.

    Raises:
        ConfigError: There is no such baseline or setting, or a value cannot be read.
    """
    name, *changes = text.split() or [""]
    known = (*PRODUCT_BASELINE_NAMES, *baseline_fits(settings))
    if name not in known:
        raise ConfigError(f"no baseline {name!r}", expected="one of " + ", ".join(known))
    own = settings.of(name)
    hints = get_type_hints(type(own))
    values: dict[str, Any] = {}
    for change in changes:
        setting, equals, value = change.partition("=")
        if not equals or setting not in hints:
            expected = "SETTING=VALUE, SETTING one of " + ", ".join(hints)
            raise ConfigError(f"cannot read {change!r} of baseline {name}", expected=expected)
        values[setting] = checked(parse(value, hints[setting], setting), hints[setting], f"{name} {setting}")
    field = name.replace("-", "_")
    changed = replace(settings, **{field: replace(own, **values)})  # type: ignore[arg-type]
    return ComparedBaseline(label=" ".join([name, *changes]), name=name, settings=changed)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """Options of every scoring of a comparison.

    Attributes:
        batch_size: Images per forward pass.
        workers: Threads that decode.
        report: Called after every step.
        regions: Regions of interest that pixels of baselines are compared in; ``None`` for whole images.
    """

    batch_size: int = BatchConfig.batch_size
    workers: int = BatchConfig.workers
    report: ProgressReport
    regions: RegionsOfInterest | None = None


def finish_baseline(
    baseline: ComparedBaseline,
    dataset: Dataset,
    config: Config,
    backbone_sha256: str,
    out: Path,
    runtime: RuntimeConfig,
    options: ScoringOptions,
) -> MethodFolder:
    """Fit and score a baseline on the categories that are not finished.

    Args:
        baseline: The baseline.
        dataset: The images to learn from and to score.
        config: Settings of a run, of which backbone, input size and seed are used.
        backbone_sha256: Hash of the backbone's weights.
        out: The parent folder of all methods' folders.
        runtime: Device and workers.
        options: Options of the scoring.

    Raises:
        ConfigError: The run's input is no square, or does not suit the baseline.
        BackboneError: The backbone cannot be loaded, or is of another family than the baseline needs.
        DatasetError: There are no images to learn from.
    """
    height, width = config.model.size
    require(height == width, "model.image_size", "a square for baselines", config.model.size)
    used = {"blocks": config.backbone.read_blocks, "tokens": config.backbone.tokens, "size": height}
    used = {} if isinstance(baseline.own, AnomalyDinoConfig) else used  # which has blocks and a size of its own
    seed = config.training.seed
    regions = () if options.regions is None else (options.regions.to_dict(),)
    identity = (baseline.name, asdict(baseline.own), used, seed, listing_sha256(dataset), backbone_sha256, *regions)
    kept = MethodFolder(out / f"{baseline.name}-{fingerprint(*identity)[:10]}", baseline.label)
    missing = kept.missing(dataset)
    parts = [dataset.of(name) for name in missing] if baseline.one_a_product else [dataset][: len(missing)]
    for part in parts:
        context = FitContext(
            dataset=part,
            rules=_rules(part, config, runtime),
            backbone=config.backbone,
            image_size=height,
            seed=seed,
            device=runtime.device,
            workers=runtime.worker_count,
            report=_labeled(options.report, baseline, part),
            checkpoints=ensure_folder(kept.folder),
        )
        _fit_and_score(baseline, context, kept, options)
    return kept


def _fit_and_score(
    baseline: ComparedBaseline, context: FitContext, kept: MethodFolder, options: ScoringOptions
) -> None:
    started = time.monotonic()
    engine = baseline.fit(context).with_paper_scores()
    engine.rules, engine.regions = context.rules, options.regions
    how = {
        "settings": asdict(baseline.own),
        "seed": context.seed,
        "fitting_seconds": round(time.monotonic() - started, 1),
        "machine": machine(context.torch_device.type),
    }
    scoring = ScoringConfig() if engine.sigma is None else ScoringConfig(sigma=engine.sigma)
    score_engine(engine, context.dataset, scoring, kept, how, replace(options, report=context.report), own_scores=True)


def score_engine(
    engine: Engine,
    dataset: Dataset,
    scoring: ScoringConfig,
    kept: MethodFolder,
    how: Mapping[str, Any],
    options: ScoringOptions,
    *,
    own_scores: bool = False,
) -> None:
    """Score a data set's test images, and keep the results of each category that is not finished.

    Args:
        engine: The engine.
        dataset: The data set.
        scoring: How maps are smoothed and scored.
        kept: The folder of the results.
        how: Settings and times, for the record.
        options: Options of the scoring.
        own_scores: True if the image score is that of the first pass, false for that of the final map.
    """
    for category in kept.missing(dataset):
        started, collector = time.monotonic(), _Collector(dataset.of(category), options.report, own_scores)
        found = evaluate_dataset(
            engine,
            collector.dataset,
            scoring,
            batch_size=options.batch_size,
            workers=options.workers,
            on_image=collector.add,
        )
        seconds = {"scoring_seconds": round(time.monotonic() - started, 1)}
        metrics = _category_metrics(found, category, own_scores)
        kept.keep(category, metrics, collector.collector.collect(), {**how, **seconds, "protocol": found.protocol})


class _Collector:
    """Collector of the scored images of one category, which reports each.

    Args:
        dataset: The images of the category.
        report: Called with every image.
        own_scores: As for ``score_engine``.
    """

    def __init__(self, dataset: Dataset, report: ProgressReport, own_scores: bool) -> None:
        self.dataset = dataset
        self.collector = ScoreCollector()
        self._report = report
        self._pass = 0 if own_scores else -1
        self._count = count(1)

    def add(self, image: ScoredImage) -> None:
        """Add an image."""
        sample = image.sample
        name = sample.path.relative_to(self.dataset.root).as_posix()
        self.collector.add(name, image.scores[self._pass], sample.anomalous, image.maps[-1], image.mask, image.inside)
        done, total = next(self._count), len(self.dataset.test)
        self._report(Progress(stage=f"scoring {sample.category}", done=done, total=total))


def _category_metrics(found: Evaluation, category: str, own_scores: bool) -> CategoryMetrics:
    """Return the metrics of the final map's pixels, and those of the image score that counts."""
    metrics = found.categories[category]
    if not own_scores:
        return metrics
    own = found.passes[0][category]
    return replace(metrics, image_auroc=own.image_auroc, image_ap=own.image_ap, image_f1_max=own.image_f1_max)


def _rules(dataset: Dataset, config: Config, runtime: RuntimeConfig) -> ImageRules:
    return completed_rules(config.model.rules, [sample.path for sample in dataset.train], runtime.decoders)


def _labeled(report: ProgressReport, baseline: ComparedBaseline, dataset: Dataset) -> ProgressReport:
    """Return a report whose stages name the baseline, and the product if it is fitted to one."""
    named = labeled(report, baseline.label)
    if not baseline.one_a_product:
        return named
    product = f" {dataset.categories[0]}"
    return lambda now: named(replace(now, stage=now.stage.removesuffix(product) + product))
