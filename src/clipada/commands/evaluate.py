"""Score a data set's test images with a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Unpack

from clipada.calibration import Calibration
from clipada.config import BatchConfig, ComparedAt, Config, EngineKeywords
from clipada.data import Dataset, load_dataset
from clipada.errors import ClipAdaError
from clipada.evaluation.evaluate import Evaluation, evaluate_dataset
from clipada.evaluation.findings import without_learned
from clipada.evaluation.kinds import Decisions, LabeledImage, decisions_at, describe_calibrated
from clipada.files import write_json, write_text
from clipada.inspection import Inspector
from clipada.report import model_card, read_scores
from clipada.report.parts import ScoredPart
from clipada.runs import CARD, METRICS, SCORES, Run, load_calibration, read_run, writing_into
from clipada.types import Progress, ProgressReport, unreported

log = logging.getLogger(__name__)

GIVEN = "the model was given the product of each image, which it finds by itself otherwise"
"""Note of an evaluation with the product given: its figures leave out the errors of finding it."""


def evaluate(
    run: Path | str,
    data: Path | str | Dataset,
    *,
    at: ComparedAt = "model",
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    product_given: bool = False,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> Evaluation:
    """Score a data set's test images with a run; write ``metrics.json`` and every image's scores into the run folder.

    If the run is calibrated, the kinds of defects that are found and missed at its thresholds are counted too.

    Args:
        run: The run folder.
        data: A data set or its folder.
        at: The size at which maps are compared with masks: the model's, or each image's own.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        product_given: True to give a model with a memory the product of each image, which it otherwise finds by itself.
        report: Called after every image.
        engine: As for ``EngineKeywords``.

    Raises:
        DatasetError: There is no usable test image.
        RunError: The run folder is incomplete, cannot be written to, or is written to by another program.
        CalibrationError: The run's ``calibration.json`` is damaged.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    with writing_into(description.folder):
        evaluation = measure(
            description,
            data,
            at=at,
            batch_size=batch_size,
            workers=workers,
            product_given=product_given,
            report=report,
            **engine,
        )
        keep_metrics(description, evaluation)
    return evaluation


def measure(
    description: Run,
    data: Path | str | Dataset,
    *,
    at: ComparedAt = "model",
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    product_given: bool = False,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> Evaluation:
    """Score a data set's test images as ``evaluate`` does, without the known defects it learned; write nothing."""
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_test()
    dataset, learned = without_learned(dataset, description.defect_sha256s)
    given = product_given and bool(description.config.memory.rows)
    notes = (*_describe_learned(learned, dataset), *([GIVEN] if given else []))
    calibration, _ = load_calibration(description)  # a damaged one is refused before the work
    inspector = Inspector.load(description, calibrated=False, **engine)
    done = count(1)
    evaluation = evaluate_dataset(
        inspector.engine,
        dataset,
        inspector.scoring,
        at=at,
        batch_size=batch_size,
        workers=workers,
        training_sha256s=description.training_sha256s or (),
        input_check=inspector.input_check,
        product_given=product_given,
        on_image=lambda _: report(Progress(stage="evaluating", done=next(done), total=len(dataset.test))),
    )
    evaluation = replace(evaluation, notes=(*notes, *evaluation.notes))
    return replace(
        _decided(evaluation, calibration, description.model_sha256, inspector.engine_name),
        protocol={
            "backbone": description.backbone_label,
            "engine": inspector.engine_name,
            "training_images": sum(description.training.categories.values()),
            "image_share": description.config.training.image_share,
            "tuned_encoders": description.config.training.tune,
            "model_sha256": description.model_sha256,
            **evaluation.protocol,
            **_pooled_share(description.config),
            **({"learned_defects": [str(path) for path in learned]} if learned else {}),
            "notes": [*notes, *evaluation.protocol["notes"]],
        },
    )


def _pooled_share(config: Config) -> dict[str, float | None]:
    """Return the share of a memory's map that its image score is the mean of, in place of the number of pixels."""
    return {"top_pixels": None, "top_share": config.memory.share} if config.memory.rows else {}


def _describe_learned(learned: Sequence[Path], rest: Dataset) -> tuple[str, ...]:
    """Say which test images were left out, as the run has learned from them, and whether defects are left."""
    if not learned:
        return ()
    said = f"{len(learned)} test images left out: the run has learned from these defects"
    if not any(sample.anomalous for sample in rest.test):
        said += ", and no others are left to measure with: hold some back from --defects"
    return (f"{said} (first: {learned[0]})",)


def _decided(evaluation: Evaluation, calibration: Calibration | None, model_sha256: str, engine: str) -> Evaluation:
    """Add the decisions at the run's thresholds, and a note if these do not hold."""
    if calibration is None:
        return evaluation
    if calibration.model_sha256 != model_sha256:
        return replace(evaluation, notes=(*evaluation.notes, "no decisions: the calibration is of another model"))
    decisions, caveats = decisions_at(calibration, evaluation.tested), [calibration.caveat(engine)]
    if shared := decisions.calibrated_on:
        caveats.append(f"{describe_calibrated(len(shared))} (first: {shared[0]})")
    return replace(evaluation, decisions=decisions, notes=(*evaluation.notes, *filter(None, caveats)))


def decide_again(description: Run, calibration: Calibration) -> Decisions | None:
    """Bring what a run folder says on its thresholds up to date: ``metrics.json`` and card; nothing is scored again.

    Returns:
        The decisions on the test images of the last evaluation; ``None`` if there was none, or its scores are damaged.
    """
    decisions = None
    if description.metrics is not None and (description.folder / SCORES).is_file():
        try:
            parts = read_scores(description).scored
        except ClipAdaError as error:
            log.warning("the decisions of the last evaluation are not updated: %s", error.what)
        else:
            decisions = decisions_at(calibration, _labeled(parts))
            write_json(description.folder / METRICS, {**description.metrics, "decisions": asdict(decisions)})
    write_text(description.folder / CARD, model_card(description))
    return decisions


def _labeled(parts: Iterable[ScoredPart]) -> Iterator[LabeledImage]:
    for part in parts:
        if part.path is not None and part.defect is not None:
            yield LabeledImage(part.category, part.defect, part.path, part.score, part.input_reason)


def keep_metrics(description: Run, evaluation: Evaluation) -> None:
    """Write the metrics, the scores and the model card into the run folder."""
    folder = description.folder
    write_text(folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    write_json(folder / METRICS, evaluation.to_dict())
    write_text(folder / CARD, model_card(description))
