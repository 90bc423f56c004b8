"""Regions of interest of a training: as asked for or recorded. No PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipada.config import Config
from clipada.data import Dataset
from clipada.data.roi import read_regions
from clipada.errors import RunError
from clipada.images.roi import RegionsOfInterest
from clipada.runs.roi import read_roi


def chosen_regions(
    roi: Path | str | None, config: Config, dataset: Dataset, resumed: Path | None
) -> RegionsOfInterest | None:
    """Return the regions of interest of a training.

    Args:
        roi: File or folder that was asked for; ``None`` for what is recorded.
        config: All settings.
        dataset: The products.
        resumed: The run folder whose training is resumed; ``None`` for a new one.

    Returns:
        ``None`` if all of every image counts.

    Raises:
        DatasetError: They cannot be used.
        RunError: They contradict those recorded.
    """
    recorded = None if resumed is None else read_roi(resumed)
    if roi is None:
        return recorded
    asked = read_regions(Path(roi), dataset, config.model.rules)
    if resumed is not None and asked != recorded:
        raise RunError(
            "--roi contradicts the training that is resumed",
            expected="the regions of interest that it started with" if recorded else "none, as it started",
            remedy="leave it out: --resume continues with what was recorded; or train into another folder",
        )
    return asked


def described_regions(regions: RegionsOfInterest | None) -> Iterator[str]:
    """Say which share of the images counts, if not all."""
    if regions is not None:
        shares = [f"{name} {region.drawn().mean():.0%}" for name, region in regions.products.items()]
        yield f"region of interest: {', '.join(shares)} of the image"
