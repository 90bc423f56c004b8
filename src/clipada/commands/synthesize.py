"""Write a contact sheet of synthetic training samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clipada.config import DEFAULT_PRESET, BatchConfig, Config, ContactSheetConfig
from clipada.data import Dataset, load_dataset
from clipada.files import ensure_folder
from clipada.images import write_png
from clipada.types import Failure

CONTACT_SHEET = "contact-sheet.png"


def synthesize(
    data: Path | str | Dataset,
    out: Path | str,
    config: Config | None = None,
    *,
    count: int = ContactSheetConfig.samples,
) -> tuple[Path, tuple[Failure, ...]]:
    """Write a contact sheet of synthetic training samples, so that a person can check what is trained.

    Args:
        data: A data set or its folder.
        out: The folder to write into.
        config: All settings; ``synthesis``, ``training.seed`` and the images' size and depth in ``model`` matter here.
        count: Number of samples to draw, spread over the categories.

    Returns:
        The sheet's path, and the training images that could not be read.

    Raises:
        DatasetError: There are no normal images, or none can be read.
        RunError: ``out`` cannot be written to.
    """
    from clipada.synthesis import AnomalySynthesizer, contact_sheet, texture_source
    from clipada.training.batches import TrainingBatches, with_image_depth

    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    dataset.require_training()
    config = config or Config.preset(DEFAULT_PRESET)
    config = with_image_depth(config, dataset.train, BatchConfig.workers)
    config = replace(config, training=replace(config.training, batch_size=count))
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    batch = TrainingBatches(dataset.train, config, synthesizer)[0]
    path = ensure_folder(Path(out)) / CONTACT_SHEET
    write_png(path, contact_sheet(batch.images, batch.masks))
    return path, batch.failures
