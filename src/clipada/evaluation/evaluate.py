"""Score a data set: metrics per category and pass, and every image's score."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipada.calibration.input_check import InputCheck
from clipada.config import BatchConfig, ComparedAt, ScoringConfig
from clipada.config.image_rules import rules_of
from clipada.data import Dataset, read_batches
from clipada.data.saturation import SaturatedRegion
from clipada.errors import DatasetError, ImageError
from clipada.evaluation.findings import Findings
from clipada.evaluation.kinds import Decisions, LabeledImage
from clipada.evaluation.metrics import (
    AUPRO_FPR_LIMIT,
    SPRO_FPR_LIMIT,
    CategoryMetrics,
    CategoryTest,
    KindMetrics,
    mean_metrics,
)
from clipada.evaluation.truth import MASK_RULES, TruthReader
from clipada.images.roi import masked, regions_of, seen_inside, with_part
from clipada.scoring import score_passes
from clipada.types import Engine, Failure, ImageEngine, Map, Mask, Sample, localize_images, written_size

ROI_RULE = (
    "pixels outside of the region of interest count in no pixel metric, and a defect as the part of it that is inside; "
    "an image whose defect is all outside stays anomalous"
)


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """Scores and maps of one test image.

    Attributes:
        sample: The image.
        scores: Image score of each pass, coarse first; then that of the mean of the passes if it is the final one.
        maps: Anomaly maps ``(H, W)`` at the size of the comparison, in the same order. The last one is the final map.
        mask: Ground truth of the same size, all false for a normal image; ``None`` for unlabeled pixels.
        regions: Defects of the same size with their saturation, in a category that has such thresholds.
        input_reason: The reason why the image is not inspectable, if it is unlike all training images.
        inside: Region of interest of the same size; ``None`` if the whole image counts.
    """

    sample: Sample
    scores: tuple[float, ...]
    maps: tuple[Map, ...] = field(repr=False)
    mask: Mask | None = field(repr=False)
    regions: tuple[SaturatedRegion, ...] = field(default=(), repr=False)
    input_reason: str | None = None
    inside: Mask | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a data set.

    Attributes:
        categories: Metrics of the final map, by category.
        passes: Metrics of each pass alone, coarse first, by category.
        scores: Every image's scores, in the data set's order: path, mask, category, defect, scores.
        failures: Test images or masks that could not be used.
        trained_on: Test images that the model was trained on: their scores are too low.
        notes: Rules applied to unusual masks, and training images among the test images, for the user.
        protocol: Settings and rules of the evaluation, for the record.
        decisions: Found and missed defects by product and kind, and false alarms; ``None`` without a calibration.
        by_kind: Metrics of the final map by kind of anomaly, of the categories with saturation thresholds.
    """

    categories: dict[str, CategoryMetrics]
    passes: tuple[dict[str, CategoryMetrics], ...]
    scores: tuple[dict[str, Any], ...]
    failures: tuple[Failure, ...]
    protocol: dict[str, Any]
    trained_on: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    decisions: Decisions | None = None
    by_kind: dict[str, dict[str, KindMetrics]] = field(default_factory=dict)

    @property
    def tested(self) -> Iterator[LabeledImage]:
        """The images with a finite score, with that of the final map."""
        for record in self.scores:
            if (score := record["scores"][-1]) is not None:
                where = (record["category"], record["defect"], Path(record["path"]))
                yield LabeledImage(*where, score, record.get("input_reason"))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``: metrics of the final map first, then those of every pass."""
        return {
            "protocol": self.protocol,
            **_table(self.categories),
            "passes": [_table(categories) for categories in self.passes],
            "decisions": None if self.decisions is None else asdict(self.decisions),
            **({"by_kind": {name: _kinds(kinds) for name, kinds in self.by_kind.items()}} if self.by_kind else {}),
        }


def _table(categories: dict[str, CategoryMetrics]) -> dict[str, Any]:
    """Return metrics by category and their mean, as plain values."""
    return {
        "categories": {name: metrics.to_dict() for name, metrics in categories.items()},
        "mean": mean_metrics(categories.values()).to_dict(),
    }


def _kinds(kinds: dict[str, KindMetrics]) -> dict[str, dict[str, float | int | None]]:
    return {kind: metrics.to_dict() for kind, metrics in kinds.items()}


def evaluate_dataset(
    engine: Engine,
    dataset: Dataset,
    scoring: ScoringConfig,
    *,
    at: ComparedAt = "model",
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    training_sha256s: Collection[str] = (),
    input_check: InputCheck | None = None,
    product_given: bool = False,
    on_image: Callable[[ScoredImage], None] = lambda _: None,
) -> Evaluation:
    """Score every test image of a data set and compute each category's metrics.

    Images or masks that cannot be used are reported in ``failures`` and left out. Maps are not stored: memory is
    bounded by one ``CategoryTest`` per pass.

    Args:
        engine: Engine that computes the raw maps.
        dataset: The data set whose test split is scored.
        scoring: How maps are smoothed and scored.
        at: The size at which maps are compared with masks: the model's, or each image's own. Image scores are the same.
        batch_size: Images at a time.
        workers: Threads that decode.
        training_sha256s: Hashes of the model's training images, which are looked for among the test images.
        input_check: Finds test images that are not inspectable: they are counted, and the metrics include them.
        product_given: True to give a model with a memory the product of each image, which it otherwise finds.
        on_image: Called with every scored image.

    Raises:
        DatasetError: There is no test image, none can be used, or saturation thresholds cannot be read.
        ConfigError: There is no such size.
    """
    dataset.require_test()
    views: dict[int, dict[str, CategoryMetrics]] = defaultdict(dict)
    scores: list[dict[str, Any]] = []
    by_kind: dict[str, dict[str, KindMetrics]] = {}
    findings = Findings(training_sha256s, input_check, product_given)
    truths = TruthReader(at, dataset.saturation_files, findings.note)
    for category in dataset.categories:
        samples = [sample for sample in dataset.test if sample.category == category]
        kinds = sorted({sample.defect for sample in samples if sample.anomalous and category in truths.saturations})
        tests: list[CategoryTest] = []
        for image in _scored(engine, samples, scoring, (batch_size, workers), findings, truths):
            on_image(image)
            scores.append(_record(image))
            tests = tests or [CategoryTest(kinds) for _ in image.maps]
            for test, score, values in zip(tests, image.scores, image.maps, strict=True):
                sample = image.sample
                test.update(score, sample.anomalous, values, image.mask, sample.defect, image.regions, image.inside)
        for index, test in enumerate(tests):
            views[index][category] = test.compute()
        if tests and kinds:
            by_kind[category] = tests[-1].by_kind()
    if not scores:
        raise DatasetError(
            f"no test image of {dataset.root} can be used",
            got=str(findings.failures[0].error) if findings.failures else None,
            remedy="check the files",
        )
    protocol = _protocol(engine, dataset, scoring, findings, at)
    if regions_of(engine) is not None:
        protocol["region_of_interest"] = ROI_RULE
    return Evaluation(
        categories=views[max(views)],
        passes=tuple(views[index] for index in range(engine.passes)),
        scores=tuple(scores),
        failures=tuple(findings.failures),
        protocol=protocol,
        trained_on=tuple(findings.trained_on),
        notes=findings.describe(),
        by_kind=by_kind,
    )


def _scored(
    engine: Engine,
    samples: Sequence[Sample],
    scoring: ScoringConfig,
    batching: tuple[int, int],
    findings: Findings,
    truths: TruthReader,
) -> Iterator[ScoredImage]:
    """Yield every usable image, scored; add the others to ``findings``."""
    regions = regions_of(engine)
    paths, originals = [sample.path for sample in samples], isinstance(engine, ImageEngine)
    for batch in read_batches(paths, engine.size, *batching, rules=rules_of(engine), keep_originals=originals):
        findings.failures += batch.failures
        if not batch.paths:
            continue
        members = [samples[position] for position in batch.positions]
        named = [sample.category if findings.product_given else None for sample in members]
        found = localize_images(engine, batch.images, batch.originals, named)
        for index, (sample, one, size) in enumerate(zip(members, found, batch.sizes, strict=True)):
            if isinstance(one, ImageError):
                findings.failures.append(Failure(path=sample.path, error=one))
                continue
            findings.compare_product(sample, engine, one)
            try:
                truth = truths.read(sample, size, (one.maps.shape[1], one.maps.shape[2]))
            except ImageError as error:
                findings.failures.append(Failure(path=sample.path, error=error))
                continue
            findings.compare(sample.path)
            reason = findings.check(sample, batch.images[index], one)
            seen = seen_inside(engine, one, sample.category)
            views, scores = score_passes(one.maps, scoring, one.score, one.view, seen(one.size))
            maps = tuple(truths.fitted(view, size) for view in views)
            inside = None if regions is None else with_part(regions.inside(sample.category, maps[0].shape), one)
            if inside is not None and truth.mask is not None and truth.mask.any() and not (truth.mask & inside).any():
                findings.outside.append(sample.path)
            yield ScoredImage(
                sample=sample,
                scores=scores,
                maps=tuple(masked(one, inside) for one in maps),
                mask=truth.mask,
                inside=inside,
                regions=truth.regions,
                input_reason=reason,
            )


def _record(image: ScoredImage) -> dict[str, Any]:
    sample = image.sample
    return {
        "path": str(sample.path.absolute()),
        "mask": None if sample.mask is None else str(sample.mask.absolute()),
        **({"more_masks": [str(mask.absolute()) for mask in sample.more_masks]} if sample.more_masks else {}),
        "category": sample.category,
        "defect": sample.defect,
        "anomalous": sample.anomalous,
        **({} if image.input_reason is None else {"input_reason": image.input_reason}),
        "scores": [score if math.isfinite(score) else None for score in image.scores],
    }


def _protocol(
    engine: Engine, dataset: Dataset, scoring: ScoringConfig, findings: Findings, at: ComparedAt
) -> dict[str, Any]:
    return {
        "data": dataset.root.resolve().name,
        "layout": dataset.layout,
        "categories": list(dataset.categories),
        "image_size": written_size(engine.size),
        **({"view": engine.described} if isinstance(engine, ImageEngine) else {}),
        "at": at,
        "masks": MASK_RULES[at],
        "mean": "plain mean over categories",
        "aupro_fpr_limit": AUPRO_FPR_LIMIT,
        **({"spro_fpr_limit": SPRO_FPR_LIMIT} if dataset.saturation_files else {}),
        "fusion": scoring.fusion,
        "sigma": scoring.sigma,
        "top_pixels": scoring.top_pixels,
        "left_out": [str(failure.path) for failure in findings.failures],
        "not_inspectable": [str(path) for path in findings.not_inspectable],
        "trained_on": [str(path) for path in findings.trained_on],
        **({} if findings.products_found is None else {"product": findings.products_found}),
        "notes": list(findings.describe()),
    }
