"""A run for machines without PyTorch: folded, written as a graph, and compared with the model before it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from clipada.config import Config, EngineOptions, EnginePrecision, ExportConfig, RuntimeName
from clipada.data import Dataset, load_dataset, read_batches
from clipada.devices import machine
from clipada.engines.export.folding import graph_shape
from clipada.engines.export.graphs import check_precision, write_graph
from clipada.engines.export.parity import (
    Images,
    Parity,
    beyond_tolerance,
    compare,
    judged_metrics,
)
from clipada.engines.export.shortcuts import Cascade, Shortcut, measure_shortcuts
from clipada.engines.exports import EXPORTS, Export, hashes, open_export, write_export
from clipada.engines.refinement import GraphEngine, PassInput, full_pass_input, gain
from clipada.engines.torch import TorchEngine
from clipada.errors import DatasetError, RunError
from clipada.files import read_json, write_json
from clipada.randomness import derived_generator
from clipada.runs import Run, load_model, read_run
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.types import Engine, Sample

__all__ = ["PARITY", "export"]

PARITY = "exports/parity.json"
REFUSED = " (refused)"


def export(
    run: Path | str,
    engine: RuntimeName = "onnx",
    precision: EnginePrecision = "fp32",
    data: Path | str | Dataset | None = None,
    *,
    backbone: str | None = None,
    config: ExportConfig | None = None,
    force: bool = False,
) -> tuple[Path, Parity]:
    """Write a run for a machine without PyTorch into its ``exports/``, and keep it only if it agrees with PyTorch.

    What was compared and found is written to ``exports/parity.json`` either way, marked if it was refused.

    Args:
        run: The run folder.
        engine: The runtime to export for.
        precision: Its arithmetic.
        data: Real images to compare on and to calibrate int8 with; by default the data the run was trained on.
        backbone: Where the backbone lies now.
        config: Tolerances and numbers of images.
        force: Keep the export although it is beyond tolerance.

    Returns:
        The export's folder, and how far it lies from PyTorch.

    Raises:
        RunError: The run is not whole, or the export is beyond tolerance.
        DatasetError: There is no image to compare on.
        BackboneError: The backbone is missing or another one.
        ConfigError: The runtime has no such precision.
    """
    check_precision(engine, precision)
    config, description = config or ExportConfig(), read_run(Path(run))
    dataset = data if isinstance(data, Dataset) else _dataset(description, data)
    reference = TorchEngine(load_model(description, backbone), "cpu")
    with _folder_aside(description.folder / EXPORTS / f"{engine}-{precision}") as folder:
        looks = _calibration(reference, dataset, config.calibration_images) if precision == "int8" else []
        write_graph(reference.model, folder, engine, precision, looks)
        made = Export(
            engine=engine,
            precision=precision,
            shape=graph_shape(reference.model),
            attention=description.config.model.attention,
            cold_below=0.0,
            end_below=0.0,
            adapter_sha256=description.trained_sha256,
            files=hashes(folder),
            clipada_version=version("clipada"),
        )
        parity = _parity(reference, made, folder, dataset, description.config, config)
        if parity.failures and not force:
            _keep(description.folder / PARITY, f"{made.name}{REFUSED}", parity)
            raise _beyond(made, parity)
        made = replace(made, beyond_tolerance=parity.failures)
        if parity.shortcut is not None and parity.cascade is not None:
            made = replace(made, cold_below=parity.shortcut.cold_below, end_below=parity.cascade.end_below)
        write_export(folder, made)
    _keep(description.folder / PARITY, made.name, parity)
    return description.folder / EXPORTS / made.name, parity


def _parity(
    reference: TorchEngine, made: Export, folder: Path, dataset: Dataset, settings: Config, config: ExportConfig
) -> Parity:
    """Compare the export in ``folder`` with the model."""
    exported = open_export(folder, made, EngineOptions(device="cpu"))
    differences = compare(reference, exported, _images(dataset.samples, reference, config.images), settings.scoring)
    metrics = judged_metrics(reference, exported, dataset, settings.scoring) if made.precision == "int8" else None
    shortcut, cascade = _shortcuts(exported, dataset, settings, config) or (None, None)
    return Parity(
        engine=made.engine,
        precision=made.precision,
        machine=machine("cpu"),
        differences=differences,
        metrics=metrics,
        shortcut=shortcut,
        cascade=cascade,
        failures=beyond_tolerance(made.precision, differences, metrics, config),
    )


def _shortcuts(
    exported: GraphEngine, dataset: Dataset, settings: Config, config: ExportConfig
) -> tuple[Shortcut, Cascade] | None:
    """What the export may leave out; ``None`` without refinement passes or with too few normal images."""
    normal = dataset.train or [sample for sample in dataset.test if not sample.anomalous]
    if exported.passes == 1 or len(normal) < config.shortcut_least:
        return None
    good = _images(normal, exported, config.shortcut_images)
    if len(good) < config.shortcut_least:
        return None
    return measure_shortcuts(exported, good, _with_anomalies(good, settings), settings.scoring, config.shortcut_error)


def _calibration(reference: TorchEngine, dataset: Dataset, count: int) -> list[PassInput]:
    """What the passes look at in training images: every pass's gain counts."""
    dataset.require_training()
    looks: list[PassInput] = []
    kind = reference.model.config.attention
    for image in _images(dataset.train, reference, count):
        one = image[np.newaxis]
        gains = [np.ones(one.shape[:3], np.float32)]
        gains += [gain(maps, kind) for maps in reference.localize_passes(one)[:-1]]
        looks += [full_pass_input(one, factor, graph_shape(reference.model)) for factor in gains]
    return looks


def _with_anomalies(images: Images, settings: Config) -> Images:
    """The images with a synthetic anomaly in each, of procedural textures and as the training's seed draws them."""
    config = replace(settings.synthesis, anomaly_probability=1.0, textures=None)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    generator = derived_generator(settings.training.seed, "shortcut")
    spoiled, _ = AnomalySynthesizer(config, texture_source(config))(pixels, generator)
    return (spoiled * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _images(samples: Sequence[Sample], engine: Engine, count: int) -> Images:
    """At most ``count`` images of the samples, evenly spread, at the model's input size."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    batches = read_batches([samples[place].path for place in places], engine.image_size, 8, 2)
    found = [image for batch in batches for image in batch.images]
    if not found:
        raise DatasetError("no image to compare the export on", expected="one image that can be read")
    return np.stack(found)


def _dataset(run: Run, data: Path | str | None) -> Dataset:
    """The data named, or else what the run was trained on."""
    if data is not None:
        return load_dataset(Path(data))
    root = Path(run.training.data)
    if not run.training.data or not root.is_dir():
        raise DatasetError(
            f"no images to compare the export of {run.folder} on",
            expected="the data it was trained on, or other images of the same parts",
            got=f"nothing in {root}" if run.training.data else "no place recorded in the run",
            remedy="pass --data DATA",
        )
    return load_dataset(root, run.training.layout, list(run.training.categories))  # type: ignore[arg-type]


def _keep(path: Path, name: str, parity: Parity) -> None:
    """Write the comparison into the run folder, beside those of other exports and of an earlier one that was kept."""
    try:
        others = read_json(path, "")
    except RunError:  # there is none, or nothing that can be kept
        others = {}
    others.pop(f"{name}{REFUSED}", None)
    write_json(path, others | {name: parity.to_dict()})


def _beyond(made: Export, parity: Parity) -> RunError:
    return RunError(
        f"export {made.name} does not agree with torch: {'; '.join(parity.failures)}",
        expected="the model's own maps within tolerance",
        got=parity.describe()[0],
        remedy=f"choose another --precision, or pass --force to keep it all the same; figures are in {PARITY}",
    )


@contextmanager
def _folder_aside(final: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``final`` when the block ends without an error."""
    aside = final.with_name(f".{final.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
