"""The commands as functions: train, evaluate, report, synthesize, info."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clipada.bundle import CARD, METRICS, PLAN, SCORES, Run, Training, read_run, save_run, write_training_sha256s
from clipada.config import EMBEDDED_BACKBONE, Config, EngineConfig, EngineName, EnginePrecision, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.evaluation import Evaluation, ScoredImage, evaluate_dataset, normal_level, normal_peaks
from clipada.files import made_folder, write_json, write_text
from clipada.images import write_png
from clipada.inspector import Inspector
from clipada.machine import machine
from clipada.metrics import mean_metrics
from clipada.plan import Plan, as_asked, begun, is_finished, read_plan, save_plan, training_data
from clipada.predicting import find_predictions
from clipada.report import (
    Parts,
    Report,
    model_card,
    read_scores,
    read_verdicts,
    run_summary,
    write_report,
)
from clipada.types import Failure

REPORT = "report.html"
CONTACT_SHEET = "contact-sheet.png"


def train(
    data: Path | str | Dataset | None,
    out: Path | str,
    config: Config | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    report: Callable[[Any], None] = lambda _: None,
    on_prototypes: Callable[[int, int], None] = lambda *_: None,
) -> Run:
    """Train one model on the normal images of all categories and write its run folder.

    Args:
        data: A data set or its folder; ``None`` for that of the training resumed.
        out: The run folder; must be new or empty unless ``resume``.
        config: All settings; by default those of the training resumed, or the ``quick`` preset.
        runtime: Devices and workers.
        resume: Go on with the unfinished training in ``out``; a finished one is returned as it is.
        report: Called after every step with a ``clipada.training.Progress``.
        on_prototypes: Called while prototypes are found, with the steps done and those in all.

    Raises:
        DatasetError: There are no normal images to train on, or none can be read.
        BackboneError: The backbone cannot be loaded.
        RunError: ``out`` is in the way, what it recorded is damaged, or ``config`` or ``data`` contradict it.
    """
    from clipada.engines.pytorch import TorchEngine
    from clipada.model import build_model
    from clipada.prototypes import find_prototypes
    from clipada.randomness import derived_generator
    from clipada.training import CHECKPOINT, fit, launch, select_share, split_validation, validate

    runtime, folder = runtime or RuntimeConfig(), Path(out)
    config = _lasting((resume and begun(folder)) or Config.preset("quick") if config is None else config)
    if is_finished(folder, resume):
        return as_asked(read_run(folder), config)
    plan = read_plan(folder) if resume else None
    dataset = training_data(data, plan, folder if resume else None)
    if plan is not None:
        plan.require(Plan.of(config, dataset))
    dataset.require_training()
    model = build_model(config)
    chosen = select_share(dataset.train, config)
    samples, held_out = split_validation(chosen, config)
    fabric = launch(config.training, runtime, made_folder(folder))
    if fabric.is_global_zero and plan is None:
        save_plan(folder, Plan.of(config, dataset))
    started = time.monotonic()

    def remember() -> None:
        model.prototypes = find_prototypes(
            model.clip,
            samples,
            config.model.prototypes,
            config.model.image_size,
            derived_generator(config.training.seed, "prototypes"),
            max(1, runtime.worker_count),
            on_prototypes,
        )

    if config.model.prototypes and config.model.prototypes_first:
        remember()
    progress = fit(fabric, model, samples, config, folder, runtime=runtime, report=report)
    if fabric.is_global_zero:
        if config.model.prototypes and model.prototypes is None:
            remember()
        counts = {name: sum(sample.category == name for sample in samples) for name in dataset.categories}
        held_out_metrics = validate(model, held_out, config, max(1, runtime.worker_count)) if held_out else {}
        peaks = normal_peaks(TorchEngine(model), samples, config.scoring, max(1, runtime.worker_count))
        record = Training(
            categories=counts,
            layout=dataset.layout,
            data=str(dataset.root.resolve()),
            unreadable=tuple(str(failure.path) for failure in progress.failures),
            seconds=round(time.monotonic() - started, 1),
            images_per_second=round(progress.images_per_second, 2),
            losses=progress.losses,
            machine=machine(fabric.device.type),
            normal_level=normal_level([peak for some in peaks.values() for peak in some]),
            normal_levels={name: normal_level(some) for name, some in peaks.items()},
            validation={name: mean_metrics(metrics.values()).to_dict() for name, metrics in held_out_metrics.items()},
        )
        write_training_sha256s(folder, (sample.path for sample in chosen))
        run = save_run(folder, model, config, record)
        write_text(folder / CARD, model_card(run))
        for name in (CHECKPOINT, PLAN):
            (folder / name).unlink(missing_ok=True)
    fabric.barrier()
    return read_run(folder)


def evaluate(
    run: Path | str,
    data: Path | str | Dataset,
    *,
    backbone: str | None = None,
    engine: EngineName | EngineConfig | None = None,
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


def report_run(
    run: Path | str,
    verdicts: Path | str | None = None,
    out: Path | str | None = None,
    *,
    backbone: str | None = None,
    engine: EngineName | EngineConfig | None = None,
    device: str = "auto",
    precision: EnginePrecision | None = None,
    batch_size: int = 8,
    workers: int = 2,
) -> Report:
    """Write a self-contained HTML report of a run's last evaluation, or of what ``predict`` said.

    The parts that are shown are read and inspected again; the file itself needs nothing else.

    Args:
        run: The run folder.
        verdicts: The JSON lines of ``predict``, or the folder that it wrote into, shards and all; ``None`` reports the
            evaluation.
        out: The file to write, or a folder to write ``report.html`` into; by default the run folder, the folder of
            ``verdicts``, or the file beside ``verdicts`` of its name and the ending ``.html``.
        backbone: Where the backbone lies now, if not where it lay at training.
        engine: As for ``Inspector.load``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        precision: ``"fp32"``, ``"bf16"``, or that of an export.
        batch_size: Images at a time.
        workers: Threads that decode.

    Returns:
        Where the report is, and the parts that could not be shown.

    Raises:
        RunError: The run folder is not whole, or was not evaluated.
        ClipAdaError: The verdicts, or the scores kept by ``evaluate``, cannot be read.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    parts = read_scores(description) if verdicts is None else _verdicts(Path(verdicts))
    path = Path(out or (run if verdicts is None else _beside(Path(verdicts))))
    inspector = Inspector.load(description, backbone=backbone, engine=engine, device=device, precision=precision)
    command = shlex.join(["clipada", "report", str(run), *([] if verdicts is None else [str(verdicts)])])
    return write_report(
        path / REPORT if path.is_dir() else path,
        description,
        parts,
        partial(inspector.inspect_files, batch_size=batch_size, workers=workers),
        command=command,
        image_threshold=inspector.score_threshold,
    )


def _verdicts(given: Path) -> Parts:
    """The verdicts in a file, or in all those in a folder that ``predict`` wrote into."""
    return read_verdicts(*find_predictions(given)) if given.is_dir() else read_verdicts([given])


def _beside(verdicts: Path) -> Path:
    """Where a report on verdicts lies unless it is said."""
    return verdicts if verdicts.is_dir() else verdicts.with_suffix(".html")


def synthesize(
    data: Path | str | Dataset, out: Path | str, config: Config | None = None, *, count: int = 24
) -> tuple[Path, tuple[Failure, ...]]:
    """Write a contact sheet of synthetic training samples, so that a person sees what trains.

    Args:
        data: A data set or its folder.
        out: The folder to write into.
        config: All settings; ``synthesis``, ``model.image_size`` and ``training.seed`` matter here.
        count: How many samples to draw, spread over the categories.

    Returns:
        The sheet's path, and the training images that could not be read.

    Raises:
        DatasetError: There are no normal images, or none can be read.
        RunError: ``out`` cannot be written to.
    """
    from clipada.synthesis import AnomalySynthesiser, contact_sheet, texture_source
    from clipada.training import TrainingBatches

    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_training()
    config = config or Config.preset("quick")
    config = replace(config, training=replace(config.training, batch_size=count))
    synthesiser = AnomalySynthesiser(config.synthesis, texture_source(config.synthesis))
    batch = TrainingBatches(dataset.train, config, synthesiser)[0]
    path = made_folder(Path(out)) / CONTACT_SHEET
    write_png(path, contact_sheet(batch.images, batch.masks))
    return path, batch.failures


def info(run: Path | str) -> dict[str, str]:
    """What a run is, as names and values: settings, backbone, training, metrics.

    Raises:
        RunError: The run folder is not whole.
    """
    return run_summary(read_run(Path(run)))


def _lasting(config: Config) -> Config:
    """The settings, with folders named so that they hold from any working folder."""
    names = {name: config.value(name) for name in ("backbone.name", "synthesis.textures")}
    given = {name: value for name, value in names.items() if value not in (None, EMBEDDED_BACKBONE)}
    folders = {name: Path(value).expanduser() for name, value in given.items()}
    return config.updated({name: str(folder.resolve()) for name, folder in folders.items() if folder.is_dir()})
