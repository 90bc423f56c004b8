"""Train one model on the normal images of all categories."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipada.config import EMBEDDED_BACKBONE, Config, RuntimeConfig
from clipada.data import Dataset
from clipada.devices import machine
from clipada.evaluation.evaluate import normal_level, normal_peaks
from clipada.evaluation.metrics import mean_metrics
from clipada.files import made_folder, write_text
from clipada.report import (
    model_card,
)
from clipada.runs import CARD, PLAN, Run, Training, read_run, save_run, write_training_sha256s
from clipada.training.resume import Plan, as_asked, begun, is_finished, read_plan, save_plan, training_data


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
    from clipada.engines.torch import TorchEngine
    from clipada.models.clip_ada import build_model
    from clipada.models.memory import find_prototypes
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


def _lasting(config: Config) -> Config:
    """The settings, with folders named so that they hold from any working folder."""
    names = {name: config.value(name) for name in ("backbone.name", "synthesis.textures")}
    given = {name: value for name, value in names.items() if value not in (None, EMBEDDED_BACKBONE)}
    folders = {name: Path(value).expanduser() for name, value in given.items()}
    return config.updated({name: str(folder.resolve()) for name, folder in folders.items() if folder.is_dir()})
