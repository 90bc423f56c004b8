"""The baselines of the tables: which are fitted, in which folder each one's result is kept, and how it comes about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.data import Dataset
from clipada.devices import find_device, machine
from clipada.evaluation.evaluate import ScoredImage, evaluate_dataset
from clipada.files import made_folder, read_json, write_json, write_text
from clipada.research.baselines import BaselineEngine, FitProgress, baseline_fits
from clipada.research.paper.experiments import listing_sha256, seeds_of
from clipada.research.paper.results import MeasuredMethod, Report, Step, categories_of, lasting
from clipada.runs import METRICS
from clipada.training.checkpoint import CHECKPOINT, fingerprint

CONTENDERS = "baselines"
"""The folder in OUT that takes their results."""

SCORES = "scores.jsonl"

COMPARED = ("table1", "table2", "table3")
"""The tables that they are rows of."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "memory-bank": "memory bank, after PatchCore",
        "zero-shot": "zero-shot prompts, after WinCLIP",
        "reconstruction": "reconstruction, after UniAD",
        "draem": "DRÆM's networks",
    }
)
"""What their rows are called."""

_UNSEEDED = ("zero-shot",)
"""Those that draw nothing."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One baseline, fitted once and scored as the method is.

    Attributes:
        name: A key of ``BASELINES``.
        settings: All baselines' settings; its own count.
        config: The method's, of which backbone, input size, synthesis, scoring and seed count.
        folder: Takes its result. The name holds a hash of all that decides it.
    """

    name: str
    settings: BaselinesConfig
    config: Config
    folder: Path

    @property
    def label(self) -> str:
        """Name and seed, for a person."""
        return self.name if self.name in _UNSEEDED else f"{self.name}, seed {self.config.training.seed}"

    @property
    def finished(self) -> bool:
        """Whether it is fitted and scored."""
        return (self.folder / METRICS).exists()

    @property
    def sizes(self) -> str:
        """How large it is and how long it learns, in words; empty where that is not a matter of choice."""
        if self.name == "memory-bank":
            return f"core-set of {100 * self.settings.memory_bank.share:g} %"
        if self.name == "reconstruction":
            return f"width {self.settings.reconstruction.width}, {lasting(self.settings.reconstruction.schedule)}"
        if self.name == "draem":
            return f"width {self.settings.draem.width}, {lasting(self.settings.draem.schedule)}"
        return ""

    def fitted(
        self,
        dataset: Dataset,
        runtime: RuntimeConfig,
        report: Callable[[FitProgress], None],
        checkpoints: Path | None = None,
    ) -> BaselineEngine:
        """Fit it to a data set; ``report`` and ``checkpoints`` as in ``Fit``."""
        return baseline_fits(self.settings)[self.name](
            dataset,
            self.config.backbone,
            self.config.model.image_size,
            seed=self.config.training.seed,
            device=runtime.device,
            workers=runtime.worker_count,
            report=report,
            checkpoints=checkpoints,
        )


def needed_contenders(
    settings: BaselinesConfig,
    base: Config,
    seeds: int | None,
    dataset: Dataset,
    backbone_sha256: str,
    out: Path,
) -> tuple[Contender, ...]:
    """A contender for each baseline and seed, ``base.training.seed`` and those after it.

    Args:
        settings: Which baselines, and all their settings; DRAEM's anomalies are drawn as the method's are.
        base: The method's settings.
        seeds: How many; one by default.
        dataset: What is learned from and scored.
        backbone_sha256: Hash of the backbone's weights.
        out: The folder that takes ``baselines/``.
    """
    settings = replace(settings, draem=replace(settings.draem, synthesis=base.synthesis))
    base = base.updated({"scoring.fusion": "last"})
    listing = listing_sha256(dataset)
    return tuple(
        _contender(name, settings, base.updated({"training.seed": seed}), [listing, backbone_sha256], out)
        for name in settings.include
        for seed in seeds_of(base, 1 if name in _UNSEEDED else seeds)
    )


def _contender(name: str, settings: BaselinesConfig, config: Config, shared: Sequence[str], out: Path) -> Contender:
    block = config.backbone.patch_block
    of_config = {"size": config.model.image_size, "block": block, "scoring": asdict(config.scoring)}
    digest = fingerprint(name, asdict(settings.of(name)), of_config, config.training.seed, *shared)
    folder = out / CONTENDERS / f"{name}-seed{config.training.seed}-{digest[:10]}"
    return Contender(name=name, settings=settings, config=config, folder=folder)


def finish_contender(one: Contender, dataset: Dataset, runtime: RuntimeConfig, report: Report) -> None:
    """Fit and score it, unless that is done. A training that was killed goes on."""
    if one.finished:
        return

    def fitting(now: FitProgress) -> None:
        note = "" if now.loss is None else f"loss {now.loss:.4f}"
        report(Step(stage=f"{one.label}: {now.stage}", done=now.done, total=now.total, note=note))

    scored: list[str] = []

    def scoring(image: ScoredImage) -> None:
        scored.append(image.sample.path.name)
        report(Step(stage=f"{one.label}: scoring", done=len(scored), total=len(dataset.test)))

    config, started = one.config, time.monotonic()
    engine = one.fitted(dataset, runtime, fitting, made_folder(one.folder)).with_paper_scores()
    fitted = time.monotonic()
    evaluation = evaluate_dataset(engine, dataset, config.scoring, on_image=scoring)
    how = {
        "baseline": one.name,
        "settings": asdict(one.settings.of(one.name)),
        "backbone_block": config.backbone.patch_block,
        "seed": config.training.seed,
        "fitting_seconds": round(fitted - started, 1),
        "scoring_seconds": round(time.monotonic() - fitted, 1),
        "machine": machine(find_device(runtime.device).type),
        "passes": ["the paper's own image score", "the map that counts"],
    }
    write_text(one.folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    content = evaluation.to_dict()
    write_json(one.folder / METRICS, content | {"protocol": how | content["protocol"]})
    (one.folder / CHECKPOINT).unlink(missing_ok=True)


def measured_methods(contenders: Sequence[Contender]) -> tuple[MeasuredMethod, ...]:
    """The finished ones as rows, each over its seeds."""
    groups = {name: [one for one in contenders if one.name == name] for name in NAMES}
    return tuple(
        MeasuredMethod(
            name=NAMES[name],
            metrics=[categories_of(_result(one)) for one in group],
            runs=tuple(one.folder.name for one in group),
        )
        for name, group in groups.items()
        if group
    )


def baseline_notes(contenders: Sequence[Contender]) -> list[str]:
    """What the reader of their rows should know."""
    firsts = {one.name: one for one in reversed(contenders)}
    if not firsts:
        return []
    sizes = "; ".join(f"{NAMES[name]}: {firsts[name].sizes}" for name in NAMES if name in firsts and firsts[name].sizes)
    note = (
        "Measured rows of other methods: this package's own versions of them, one model for all categories, on the "
        "same images at the same size, scored the same way, CLIP frozen; no rebuilding of their papers' figures"
    )
    return [f"{note} ({sizes})." if sizes else f"{note}."]


def _result(one: Contender) -> Mapping[str, Any]:
    return read_json(one.folder / METRICS, "delete it, then run `clipada reproduce` again")
