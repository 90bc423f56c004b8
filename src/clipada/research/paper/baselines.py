"""Baselines of the tables: their runs, the folder of each run's result, fitting and scoring."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipada.config import BaselinesConfig, Config, DraemConfig, ReconstructionConfig, RuntimeConfig, ScheduleConfig
from clipada.data import Dataset
from clipada.devices import find_device, machine
from clipada.evaluation.evaluate import ScoredImage, evaluate_dataset
from clipada.files import ensure_folder, write_json, write_text
from clipada.images import completed_rules
from clipada.research.baselines import BaselineEngine, FitContext, baseline_fits
from clipada.research.paper.experiments import listing_sha256, seeds_of
from clipada.research.paper.results import MeasuredMethod, categories_of, described_schedule
from clipada.runs import CHECKPOINT, METRICS
from clipada.runs.metrics import read_metrics
from clipada.training.checkpoint import fingerprint
from clipada.types import Progress, ProgressReport, labeled

BASELINES_FOLDER = "baselines"
"""Folder in OUT for the results of the baselines."""

SCORES = "scores.jsonl"

COMPARED = ("table1", "table2", "table3")
"""Tables with a row for each baseline."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "memory-bank": "memory bank, after PatchCore",
        "zero-shot": "zero-shot prompts, after WinCLIP",
        "reconstruction": "reconstruction, after UniAD",
        "draem": "DRÆM's networks",
    }
)
"""Labels of their rows."""

_UNSEEDED = ("zero-shot",)
"""Baselines without randomness."""


@dataclass(frozen=True, kw_only=True)
class BaselineRun:
    """One baseline, fitted once and scored in the same way as CLIP-ADA.

    Attributes:
        name: A key of ``BASELINES``.
        settings: The settings of all baselines, of which it uses its own.
        config: CLIP-ADA's settings, of which it uses backbone, input size, synthesis, scoring and seed.
        folder: Folder of its result. The name contains a hash of everything that determines the result.
    """

    name: str
    settings: BaselinesConfig
    config: Config
    folder: Path

    @property
    def label(self) -> str:
        """Name of baseline and seed, for a person."""
        return self.name if self.name in _UNSEEDED else f"{self.name}, seed {self.config.training.seed}"

    @property
    def finished(self) -> bool:
        """True if it is fitted and scored."""
        return (self.folder / METRICS).exists()

    @property
    def sizes(self) -> str:
        """Size and schedule, for a person; empty for a baseline without such settings."""
        if self.name == "memory-bank":
            return f"core-set of {100 * self.settings.memory_bank.share:g} %"
        if self.name == "reconstruction":
            return _size(self.settings.reconstruction)
        if self.name == "draem":
            return _size(self.settings.draem)
        return ""

    @property
    def schedule(self) -> ScheduleConfig | None:
        """The schedule of its network's training; ``None`` if it trains no network."""
        schedule: ScheduleConfig | None = getattr(self.settings.of(self.name), "schedule", None)
        return schedule

    def fit(
        self, dataset: Dataset, runtime: RuntimeConfig, report: ProgressReport, checkpoints: Path | None = None
    ) -> BaselineEngine:
        """Fit it to a data set; ``report`` and ``checkpoints`` as in ``FitContext``."""
        paths = [sample.path for sample in dataset.train]
        context = FitContext(
            dataset=dataset,
            rules=completed_rules(self.config.model.rules, paths, runtime.decoders),
            backbone=self.config.backbone,
            image_size=self.config.model.size[0],
            seed=self.config.training.seed,
            device=runtime.device,
            workers=runtime.worker_count,
            report=report,
            checkpoints=checkpoints,
        )
        fitted = baseline_fits(self.settings)[self.name](context)
        fitted.rules = context.rules
        return fitted


def _size(network: ReconstructionConfig | DraemConfig) -> str:
    return f"width {network.width}, {described_schedule(network.schedule)}"


def needed_baselines(
    settings: BaselinesConfig,
    base: Config,
    seeds: int | None,
    dataset: Dataset,
    backbone_sha256: str,
    out: Path,
) -> tuple[BaselineRun, ...]:
    """Return a run for each baseline and each seed from ``base.training.seed`` on.

    Args:
        settings: Names and settings of the baselines; the synthesis of DRAEM is replaced by that of ``base``.
        base: CLIP-ADA's settings.
        seeds: Number of seeds; one by default.
        dataset: The images to learn from and to score.
        backbone_sha256: Hash of the backbone's weights.
        out: The parent folder of ``baselines/``.
    """
    settings = replace(settings, draem=replace(settings.draem, synthesis=base.synthesis))
    base = base.updated({"scoring.fusion": "last"})
    listing = listing_sha256(dataset)
    return tuple(
        _baseline_run(name, settings, base.updated({"training.seed": seed}), [listing, backbone_sha256], out)
        for name in settings.include
        for seed in seeds_of(base, 1 if name in _UNSEEDED else seeds)
    )


def _baseline_run(
    name: str, settings: BaselinesConfig, config: Config, shared: Sequence[str], out: Path
) -> BaselineRun:
    block = config.backbone.read_blocks[-1:]  # none in a plan that is made without the backbone
    of_config = {"size": config.model.size[0], "block": block[0] if block else None, "scoring": asdict(config.scoring)}
    digest = fingerprint(name, asdict(settings.of(name)), of_config, config.training.seed, *shared)
    folder = out / BASELINES_FOLDER / f"{name}-seed{config.training.seed}-{digest[:10]}"
    return BaselineRun(name=name, settings=settings, config=config, folder=folder)


def finish_baseline(run: BaselineRun, dataset: Dataset, runtime: RuntimeConfig, report: ProgressReport) -> None:
    """Fit and score a baseline, unless that is done. An interrupted training is resumed."""
    if run.finished:
        return

    def noted(now: Progress) -> None:
        named(replace(now, note=f"loss {now.losses[-1]:.4f}") if now.losses else now)

    named = labeled(report, run.label)
    config, started = run.config, time.monotonic()
    engine = run.fit(dataset, runtime, noted, ensure_folder(run.folder)).with_paper_scores()
    fitted = time.monotonic()
    evaluation = evaluate_dataset(engine, dataset, config.scoring, on_image=_counted(dataset, noted))
    how = {
        "baseline": run.name,
        "settings": asdict(run.settings.of(run.name)),
        "backbone_block": config.backbone.read_blocks[-1],
        "seed": config.training.seed,
        "fitting_seconds": round(fitted - started, 1),
        "scoring_seconds": round(time.monotonic() - fitted, 1),
        "machine": machine(find_device(runtime.device).type),
        "passes": ["the paper's own image score", "the final map"],
    }
    write_text(run.folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    content = evaluation.to_dict()
    write_json(run.folder / METRICS, content | {"protocol": how | content["protocol"]})
    (run.folder / CHECKPOINT).unlink(missing_ok=True)


def _counted(dataset: Dataset, report: ProgressReport) -> Callable[[ScoredImage], None]:
    """Return a callback for scored images that reports their number."""
    scored = count(1)
    return lambda _: report(Progress(stage="scoring", done=next(scored), total=len(dataset.test)))


def measured_methods(runs: Sequence[BaselineRun]) -> tuple[MeasuredMethod, ...]:
    """Return finished baselines as methods for the tables, each over its seeds."""
    groups = {name: [run for run in runs if run.name == name] for name in NAMES}
    return tuple(
        MeasuredMethod(
            name=NAMES[name],
            metrics=[categories_of(_result(run)) for run in group],
            runs=tuple(run.folder.name for run in group),
        )
        for name, group in groups.items()
        if group
    )


def baseline_notes(runs: Sequence[BaselineRun]) -> list[str]:
    """Return notes for the readers of their rows."""
    firsts = {run.name: run for run in reversed(runs)}
    if not firsts:
        return []
    sizes = "; ".join(f"{NAMES[name]}: {firsts[name].sizes}" for name in NAMES if name in firsts and firsts[name].sizes)
    note = (
        "Measured rows of other methods: this package's own versions of them, one model for all categories, on the "
        "same images at the same size, scored the same way, CLIP frozen; not a reproduction of their papers' results"
    )
    return [f"{note} ({sizes})." if sizes else f"{note}."]


def _result(run: BaselineRun) -> Mapping[str, Any]:
    return read_metrics(run.folder / METRICS, "delete it, then run `clipada reproduce` again")
