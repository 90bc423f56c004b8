"""Plan of a training that brings the false alarms of a stress test back: what it learns from, and what judges it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipada.calibration import Calibration, needed_images, require_images
from clipada.config import CalibrationConfig, Config, CrossFitConfig, PerturbationKind
from clipada.data import Dataset
from clipada.errors import ConfigError, RunError
from clipada.files import LOCK
from clipada.images.roi import RegionsOfInterest
from clipada.runs import PLAN, Run, is_finished, read_run
from clipada.runs.roi import load_roi
from clipada.training.trained_images import (
    AddedImages,
    added_images,
    defects_folder,
    find_dataset,
    trained_images,
)

COPIES_EACH = 12
"""Perturbed copies of each product for each perturbation and strength."""

MOST_COPIES = 240
"""Most perturbed copies of a product: they cost time and memory like so many more images."""


@dataclass(frozen=True, kw_only=True)
class FixPlan:
    """A training that sees perturbed copies of the same good images, and the held-out ones that judge it.

    Attributes:
        folder: The new run folder.
        dataset: The images that the old run was trained on, and its test images.
        defects: The folder with the photos of known defects that it has learned from; ``None`` without any.
        regions: Its regions of interest; ``None`` if all of every image counts.
        added: Good parts that were added to its memory since.
        calibrating: Good parts that set the thresholds of the new run; none where the training images do.
        cross_fit: Settings with which the training images do; ``None`` where they do not.
        measuring: Other good parts, on which both runs are measured.
    """

    folder: Path
    dataset: Dataset
    defects: Path | None
    regions: RegionsOfInterest | None
    added: tuple[AddedImages, ...]
    calibrating: tuple[Path, ...]
    cross_fit: CrossFitConfig | None
    measuring: tuple[Path, ...]


def plan_fix(
    run: Run,
    calibration: Calibration,
    images: Sequence[Path],
    known: Iterable[Path],
    folder: Path,
    data: Path | None,
) -> FixPlan:
    """Decide which images train, calibrate and measure the new run, before any work.

    Those of ``images`` that the present thresholds come from calibrate the new run too, if they are enough for the same
    guarantee. Else every second image does. The others measure. Cross-fitted thresholds are cross-fitted again.

    Args:
        run: The old run.
        calibration: Its calibration.
        images: Good parts that it was not trained on, each once.
        known: Those of them that the calibration knows.
        folder: The new run folder.
        data: The images that the run was trained on, if they have moved.

    Raises:
        ConfigError: The run has no memory.
        RunError: ``folder`` is in the way, or no product of the training is left in the memory.
        CalibrationError: The images are too few.
        DatasetError: Images that the run has learned from are not where they were, or have changed.
    """
    _require_free(folder, run)
    if not run.config.memory.rows:
        raise ConfigError(
            f"run {run.folder} has no memory of good parts, which perturbed copies could join",
            expected="a run trained with --preset quick or accurate",
            got="memory.rows 0",
            remedy="train one, and stress that",
        )
    dataset = _dataset(run, data)
    defects, added = defects_folder(run, dataset), added_images(run, data)
    crossed = _cross_fit(calibration, dataset) if calibration.folds else None
    calibrating = _calibrating(images, known, calibration.settings) if crossed is None else []
    measuring = tuple(path for path in images if path not in set(calibrating))
    return FixPlan(
        folder=folder,
        dataset=dataset,
        defects=defects,
        regions=_regions(run, dataset),
        added=tuple(added),
        calibrating=tuple(calibrating),
        cross_fit=crossed,
        measuring=measuring,
    )


def with_copies(config: Config, strengths: Mapping[PerturbationKind, tuple[float, ...]]) -> Config:
    """Return settings under which a training also sees perturbed copies; those that it saw before stay.

    A share of images that it chose is a plan's whole data set.
    """
    changes: dict[str, object] = {
        f"augment.{kind}": tuple(dict.fromkeys((*getattr(config.augment, kind), *found)))
        for kind, found in strengths.items()
    }
    conditions = len(config.updated(changes).augment.perturbations())
    copies = min(MOST_COPIES, COPIES_EACH * conditions)
    return config.updated({**changes, "augment.copies": copies, "training.image_share": 1.0})


def _dataset(run: Run, data: Path | None) -> Dataset:
    """Return what a run was trained on, with the test images: of other good images, none is trained on."""
    found = find_dataset(run, data)
    if not {*found.categories} & {*run.training.categories}:
        raise RunError(
            f"no product that run {run.folder} was trained on is in its memory still",
            expected="one at least, which the fix trains on",
            got=f"{', '.join(run.training.categories)}, which was added",
            remedy="train a run of these products, and stress that",
        )
    trained = trained_images(run, found)
    known = {sample.path for sample in trained}
    tested = [sample for sample in found.test if sample.path not in known]
    return replace(found, samples=(*(replace(sample, split="train") for sample in trained), *tested))


def _regions(run: Run, dataset: Dataset) -> RegionsOfInterest | None:
    """Return the regions of interest of the products that are trained on."""
    known = load_roi(run)
    products = {} if known is None else known.products
    kept = {name: region for name, region in products.items() if name in dataset.categories}
    return RegionsOfInterest(products=kept) if kept else None


def _calibrating(images: Sequence[Path], known: Iterable[Path], settings: CalibrationConfig) -> list[Path]:
    """Choose the images that set the thresholds of the new run; raise ``CalibrationError`` if there are too few."""
    chosen = list(known)
    if needed_images(settings) <= len(chosen) < len(images):
        return chosen
    chosen = list(images[::2])
    require_images(len(chosen), settings, f", which are half of the {len(images)} images; the others measure")
    return chosen


def _cross_fit(calibration: Calibration, dataset: Dataset) -> CrossFitConfig:
    """Return the settings with which the thresholds of the old run were cross-fitted, for the new one."""
    each = calibration.folds == len(calibration.images)
    folds = None if each else max(2, round(calibration.folds / len(dataset.categories)))
    return CrossFitConfig(data=str(dataset.root), folds=folds)


def _require_free(folder: Path, run: Run) -> None:
    """Raise ``RunError`` if a folder holds something else than a fix that was begun or finished."""
    if not folder.exists() or (folder.is_dir() and not any(path.name != LOCK for path in folder.iterdir())):
        return
    other = folder.resolve() != run.folder.resolve()
    if other and ((folder / PLAN).is_file() or (is_finished(folder) and read_run(folder).config.augment.copies)):
        return
    raise RunError(
        f"{folder} is in the way",
        expected="a new or empty folder for the new run, or one in which --fix has begun",
        got="a folder with files" if other else "the run that is to be fixed, which stays as it is",
        remedy="choose another folder for --fix",
    )
