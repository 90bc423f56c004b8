"""The commands as functions: train, evaluate, predict, synthesize, info."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipada.bundle import ADAPTER, CARD, CONFIG, METRICS, Run, Training, read_run, save_run
from clipada.config import EMBEDDED_BACKBONE, Config, EnginePrecision, RuntimeConfig, setting_names
from clipada.data import Dataset, load_dataset
from clipada.errors import RunError
from clipada.evaluation import Evaluation, ScoredImage, evaluate_dataset, normal_level
from clipada.files import write_json, write_text, written_aside
from clipada.images import find_images, write_png
from clipada.inspector import Inspector
from clipada.machine import machine
from clipada.metrics import mean_metrics
from clipada.report import map_to_16bit, model_card, overlay, run_summary
from clipada.scoring import map_statistics
from clipada.types import Failure, Prediction

SCORES = "evaluation/scores.jsonl"
PREDICTIONS = "predictions.jsonl"
OVERLAY = ".overlay.png"
MAP = ".map.png"
CONTACT_SHEET = "contact-sheet.png"


def train(
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    report: Callable[[Any], None] = lambda _: None,
) -> Run:
    """Train one model on the normal images of all categories and write its run folder.

    Args:
        data: A data set or its folder.
        out: The run folder; must be new or empty unless ``resume``.
        config: All settings; the ``quick`` preset by default.
        runtime: Devices and workers.
        resume: Go on with the unfinished training in ``out``; a finished one is returned as it is.
        report: Called after every step with a ``clipada.training.Progress``.

    Raises:
        DatasetError: There are no normal images to train on, or none can be read.
        BackboneError: The backbone cannot be loaded.
        RunError: ``out`` is in the way, or its checkpoint is damaged or of another training.
    """
    from clipada.engines.pytorch import TorchEngine
    from clipada.model import build_model
    from clipada.training import CHECKPOINT, fit, launch, split_validation, validate

    config, runtime, folder = config or Config.preset("quick"), runtime or RuntimeConfig(), Path(out)
    config = replace(config, backbone=replace(config.backbone, name=_lasting_name(config.backbone.name)))
    if _finished(folder, resume):
        return _as_asked(read_run(folder), config)
    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_training()
    model = build_model(config)
    samples, held_out = split_validation(dataset.train, config)
    fabric = launch(config.training, runtime, _made(folder))
    started = time.monotonic()
    progress = fit(fabric, model, samples, config, folder, workers=runtime.worker_count, report=report)
    if fabric.is_global_zero:
        counts = {name: sum(sample.category == name for sample in samples) for name in dataset.categories}
        held_out_metrics = validate(model, held_out, config, max(1, runtime.worker_count)) if held_out else {}
        record = Training(
            categories=counts,
            layout=dataset.layout,
            unreadable=tuple(str(failure.path) for failure in progress.failures),
            seconds=round(time.monotonic() - started, 1),
            images_per_second=round(progress.images_per_second, 2),
            losses=progress.losses,
            machine=machine(fabric.device.type),
            normal_level=normal_level(TorchEngine(model), samples, config.scoring, max(1, runtime.worker_count)),
            validation={name: mean_metrics(metrics.values()).to_dict() for name, metrics in held_out_metrics.items()},
        )
        run = save_run(folder, model, config, record)
        write_text(folder / CARD, model_card(run))
        (folder / CHECKPOINT).unlink(missing_ok=True)
    fabric.barrier()
    return read_run(folder)


def evaluate(
    run: Path | str,
    data: Path | str | Dataset,
    *,
    backbone: str | None = None,
    device: str = "auto",
    precision: EnginePrecision = "fp32",
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
    inspector = Inspector.load(run, backbone=backbone, device=device, precision=precision)
    description = read_run(Path(run))
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
        protocol={"backbone": description.backbone_label, "engine": f"torch {precision}", **evaluation.protocol},
    )
    folder = description.folder
    write_text(folder / SCORES, "".join(json.dumps(record) + "\n" for record in evaluation.scores))
    write_json(folder / METRICS, evaluation.to_dict())
    write_text(folder / CARD, model_card(description))
    return evaluation


def predict(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    *,
    backbone: str | None = None,
    device: str = "auto",
    precision: EnginePrecision = "fp32",
    threshold: float | None = None,
    batch_size: int = 8,
    workers: int = 2,
) -> Iterable[Prediction | Failure]:
    """Inspect a file or a folder of images, or some of each, one batch after another while the results are taken.

    With ``out``, each image's overlay (``NAME.overlay.png``) and 16-bit anomaly map (``NAME.map.png``, value / 65535,
    in its own geometry) are written there as its result is taken, and at the end ``predictions.jsonl``. Such pictures
    of an earlier time are not inspected.

    Yields:
        A prediction per image in order; a failure for a file that cannot be read.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is not whole, or ``out`` cannot be written to.
        BackboneError: The backbone is missing or another one.
    """
    paths = find_images(Path(image) for image in ([images] if isinstance(images, Path | str) else images))
    if out is not None:
        paths = [path for path in paths if not path.name.endswith((OVERLAY, MAP))]
    inspector = Inspector.load(run, backbone=backbone, device=device, precision=precision, threshold=threshold)
    results = inspector.inspect_files(paths, batch_size=batch_size, workers=workers)
    return results if out is None else _written(results, _made(out), _names(paths))


def prediction_record(result: Prediction | Failure) -> dict[str, Any]:
    """One JSON line of ``predict``: path, score, map statistics and regions, or the error."""
    if isinstance(result, Failure):
        return {"path": str(result.path), "error": str(result.error)}
    return {
        "path": None if result.path is None else str(result.path),
        "score": result.score,
        "width": result.size[0],
        "height": result.size[1],
        "map": map_statistics(result.anomaly_map, result.threshold),
        "threshold": result.threshold,
        "regions": [
            {
                "box": list(region.box),
                "area": region.area,
                "peak": region.peak,
                "peak_position": list(region.peak_position),
            }
            for region in result.regions
        ],
    }


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
    path = _made(out) / CONTACT_SHEET
    write_png(path, contact_sheet(batch.images, batch.masks))
    return path, batch.failures


def info(run: Path | str) -> dict[str, str]:
    """What a run is, as names and values: settings, backbone, training, metrics.

    Raises:
        RunError: The run folder is not whole.
    """
    return run_summary(read_run(Path(run)))


def _finished(folder: Path, resume: bool) -> bool:
    """Whether the run folder already holds a finished run that may be returned; raises if it is in the way."""
    finished = (folder / CONFIG).exists() and (folder / ADAPTER).exists()
    if not folder.exists() or (folder.is_dir() and (resume or not any(folder.iterdir()))):
        return finished
    if not RuntimeConfig.leads():  # the first process has begun to write there
        return False
    raise RunError(
        f"run folder {folder} is in the way",
        expected="a new or empty folder",
        got="a finished run" if finished else "a folder with files" if folder.is_dir() else "a file",
        remedy="choose another --out, delete it, or pass --resume to go on with an unfinished training",
    )


def _as_asked(run: Run, config: Config) -> Run:
    """The finished run, if it was trained with these settings."""
    differing = [name for name in setting_names() if config.value(name) != run.config.value(name)]
    if differing:
        raise RunError(
            f"run {run.folder} is finished, with other settings",
            expected=", ".join(f"{name} {config.value(name)!r}" for name in differing),
            got=", ".join(f"{name} {run.config.value(name)!r}" for name in differing),
            remedy="train into another folder",
        )
    return run


def _made(out: Path | str) -> Path:
    """The folder to write into, made if need be."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write into {out}",
            expected="a folder, or a place for a new one",
            got=error.strerror,
            remedy="choose another --out",
        ) from error
    return Path(out)


def _written(
    results: Iterable[Prediction | Failure], out: Path, names: dict[Path, Path]
) -> Iterator[Prediction | Failure]:
    """Pass results through, writing each one's pictures and in the end all their records."""
    with written_aside(out / PREDICTIONS) as aside, aside.open("w", encoding="utf-8") as lines:
        for result in results:
            lines.write(json.dumps(prediction_record(result)) + "\n")
            if isinstance(result, Prediction) and result.path is not None:
                picture = overlay(result.image, result.anomaly_map, result.threshold)
                write_png(out / f"{names[result.path]}{OVERLAY}", picture)
                write_png(out / f"{names[result.path]}{MAP}", map_to_16bit(result.anomaly_map))
            yield result


def _names(paths: Sequence[Path]) -> dict[Path, Path]:
    """A name for each file's outputs: its path below the folder that all share, its suffix kept to stay unique."""
    folders = {path: path.parent.resolve() for path in paths}  # a ".." in a name would lead out of the output folder
    shared = os.path.commonpath(folders.values())
    return {path: folder.relative_to(shared) / path.name for path, folder in folders.items()}


def _lasting_name(backbone: str) -> str:
    """A backbone's name that holds from any working folder."""
    folder = Path(backbone).expanduser()
    return str(folder.resolve()) if folder.is_dir() and backbone != EMBEDDED_BACKBONE else backbone
