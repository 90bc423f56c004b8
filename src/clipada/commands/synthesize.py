"""Write a contact sheet of synthetic training samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.config import DEFAULT_PRESET, BatchConfig, Config, ContactSheetConfig
from clipada.data import Dataset, load_dataset
from clipada.files import ensure_folder
from clipada.images import write_png
from clipada.report.contact_sheet import SheetSample, contact_sheet
from clipada.types import Failure, Progress, ProgressReport, unreported

if TYPE_CHECKING:
    from clipada.training.batches import TrainingBatch, TrainingBatches

CONTACT_SHEET = "contact-sheet.png"

AT_ONCE = 4
"""Samples that are drawn together."""


def synthesize(
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    count: int = ContactSheetConfig.samples,
    report: ProgressReport = unreported,
) -> tuple[Path, tuple[Failure, ...]]:
    """Write a contact sheet of synthetic training samples, so that a person can check what is trained.

    Args:
        data: A data set or its folder.
        out: The folder to write into.
        config: All settings; ``synthesis``, ``training.seed`` and the images' size and rules in ``model`` matter.
        count: Number of samples to draw, spread over the categories.
        report: Called after every few samples.

    Returns:
        The sheet's path, and the training images that could not be read.

    Raises:
        DatasetError: There are no normal images, or none can be read.
        RunError: ``out`` cannot be written to.
    """
    from clipada.synthesis import AnomalySynthesizer, texture_source
    from clipada.training.batches import TrainingBatches, with_image_depth

    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_training()
    config = config or Config.preset(DEFAULT_PRESET)
    config = with_image_depth(config, dataset.train, BatchConfig.workers)
    config = replace(config, training=replace(config.training, batch_size=min(count, AT_ONCE)))
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis), "reflection")
    batches = TrainingBatches(dataset.train, config, synthesizer)
    samples: list[SheetSample] = []
    failures: dict[Path, Failure] = {}
    while len(samples) < count:
        batch = batches[len(samples) // AT_ONCE]
        samples += _samples(batches, batch, dataset)
        failures |= {failure.path: failure for failure in batch.failures}
        report(Progress(stage="drawing samples", done=min(len(samples), count), total=count))
    path = ensure_folder(Path(out)) / CONTACT_SHEET
    write_png(path, contact_sheet(samples[:count], _title(dataset, config, count)))
    return path, tuple(failures.values())


def _samples(batches: TrainingBatches, batch: TrainingBatch, dataset: Dataset) -> list[SheetSample]:
    """Return the samples of a batch with their captions."""
    categories = {sample.path: sample.category for sample in dataset.train}
    unread = {failure.path for failure in batch.failures}
    samples = []
    for place, (levels, anomalous) in enumerate(zip(batch.levels, batch.anomalous[:, 0], strict=True)):
        path = next(path for path in batches.candidates(batch.step, place) if path not in unread)
        share = 100 * float(anomalous.float().mean())
        drawn = f"anomaly, {share:.1f} % of the image" if share else "good"
        image = levels.permute(1, 2, 0).numpy()
        samples.append(SheetSample(caption=f"{categories[path]}: {drawn}", image=image, mask=anomalous.numpy()))
    return samples


def _title(dataset: Dataset, config: Config, count: int) -> list[str]:
    """Return the lines above the samples."""
    height, width = config.model.size
    lines = [
        f"{count} training samples of {dataset.root.resolve().name}, {width} x {height} pixels, seed "
        f"{config.training.seed}; beside each, the outline of its mask"
    ]
    if config.synthesis.rotate_probability:
        lines.append("turned parts: corners are mirrored on this sheet; a training leaves them black, as DRAEM does")
    return lines
