"""Score a data set's test images with a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clipada.config import EngineName, EngineOptions, EnginePrecision
from clipada.data import Dataset, load_dataset
from clipada.evaluation.evaluate import Evaluation, ScoredImage, evaluate_dataset
from clipada.files import write_json, write_text
from clipada.inspection import Inspector
from clipada.report import (
    model_card,
)
from clipada.runs import CARD, METRICS, SCORES, read_run


def evaluate(
    run: Path | str,
    data: Path | str | Dataset,
    *,
    backbone: str | None = None,
    engine: EngineName | EngineOptions | None = None,
    device: str = "auto",
    precision: EnginePrecision | None = None,
    batch_size: int = 8,
    workers: int = 2,
    on_image: Callable[[ScoredImage], None] = lambda _: None,
) -> Evaluation:
    """Score a data set's test images with a run; write ``metrics.json`` and every image's scores into the run folder.

    Raises:
        DatasetError: There is no usable test image.
        RunError: The run folder is not whole.
        BackboneError: The backbone is missing or another one.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_test()
    description = read_run(Path(run))
    inspector = Inspector.load(
        description, backbone=backbone, engine=engine, device=device, precision=precision, calibrated=False
    )
    evaluation = evaluate_dataset(
        inspector.engine,
        dataset,
        inspector.scoring,
        batch_size=batch_size,
        workers=workers,
        on_image=on_image,
    )
    evaluation = replace(
        evaluation,
        protocol={
            "backbone": description.backbone_label,
            "engine": inspector.engine_name,
            "training_images": sum(description.training.categories.values()),
            "image_share": description.config.training.image_share,
            "tuned_encoders": description.config.training.tune,
            **evaluation.protocol,
        },
    )
    folder = description.folder
    write_text(folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    write_json(folder / METRICS, evaluation.to_dict())
    write_text(folder / CARD, model_card(description))
    return evaluation
