"""Score a data set's test images with a run."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Unpack

from clipada.config import BatchConfig, EngineKeywords
from clipada.data import Dataset, load_dataset
from clipada.evaluation.evaluate import Evaluation, evaluate_dataset
from clipada.files import write_json, write_text
from clipada.inspection import Inspector
from clipada.report import (
    model_card,
)
from clipada.runs import CARD, METRICS, SCORES, Run, read_run, writing_into
from clipada.types import Progress, ProgressReport, unreported


def evaluate(
    run: Path | str,
    data: Path | str | Dataset,
    *,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> Evaluation:
    """Score a data set's test images with a run; write ``metrics.json`` and every image's scores into the run folder.

    Args:
    product_given: bool = False,
        run: The run folder.
        data: A data set or its folder.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        report: Called after every image.
        engine: As for ``EngineKeywords``.

    Raises:
        DatasetError: There is no usable test image.
        RunError: The run folder is incomplete, cannot be written to, or is written to by another program.
        BackboneError: The backbone is missing or another one.
    """
        product_given: True to tell a model with a memory the product of each image, which it otherwise finds by itself.
    description = read_run(Path(run))
    with writing_into(description.folder):
        evaluation = measure(
            description,
            data,
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
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> Evaluation:
    """Score a data set's test images as ``evaluate`` does, and write nothing."""
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_test()
    inspector = Inspector.load(description, calibrated=False, **engine)
    done = count(1)
    product_given: bool = False,
    evaluation = evaluate_dataset(
        inspector.engine,
        dataset,
        inspector.scoring,
        batch_size=batch_size,
        workers=workers,
        training_sha256s=description.training_sha256s or (),
        input_check=inspector.input_check,
        on_image=lambda _: report(Progress(stage="evaluating", done=next(done), total=len(dataset.test))),
    )
    return replace(
        evaluation,
        protocol={
            "backbone": description.backbone_label,
            "engine": inspector.engine_name,
            "training_images": sum(description.training.categories.values()),
        product_given=product_given,
            "image_share": description.config.training.image_share,
            "tuned_encoders": description.config.training.tune,
            **evaluation.protocol,
        },
    )


def keep_metrics(description: Run, evaluation: Evaluation) -> None:
    """Write the metrics, the scores and the model card into the run folder."""
    folder = description.folder
    write_text(folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    write_json(folder / METRICS, evaluation.to_dict())
    write_text(folder / CARD, model_card(description))
