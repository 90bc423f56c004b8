"""Plan of a training that brings the false alarms of a stress test back: what it learns from, and what judges it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from clipada.calibration import Calibration, needed_images, require_images
from clipada.config import Config, PerturbationKind
from clipada.data import Dataset, Layout, load_dataset
from clipada.errors import ConfigError, RunError
from clipada.files import LOCK
from clipada.runs import PLAN, Run, is_finished, read_run

COPIES_EACH = 12
"""Perturbed copies of each product for each perturbation and strength."""

MOST_COPIES = 240
"""Most perturbed copies of a product: they cost time and memory like so many more images."""


@dataclass(frozen=True, kw_only=True)
class FixPlan:
    """A training that sees perturbed copies of the same good images, and the held-out ones that judge it.

    Attributes:
        folder: The new run folder.
        dataset: The images that the old run was trained on.
        calibrating: Good parts that set the thresholds of the new run.
        measuring: Other good parts, on which both runs are measured.
    """

    folder: Path
    dataset: Dataset
    calibrating: tuple[Path, ...]
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
    guarantee. Else every second image does. The others measure.

    Args:
        run: The old run.
        calibration: Its calibration.
        images: Good parts that it was not trained on, each once.
        known: Those of them that the calibration knows.
        folder: The new run folder.
        data: The images that the run was trained on, if they have moved.

    Raises:
        ConfigError: The run has no memory.
        RunError: Its training images are not where they were, or ``folder`` is in the way.
        CalibrationError: The images are too few.
        DatasetError: The training images cannot be listed.
    """
    _require_free(folder, run)
    if not run.config.memory.rows:
        raise ConfigError(
            f"run {run.folder} has no memory of good parts, which perturbed copies could join",
            expected="a run trained with --preset quick or accurate",
            got="memory.rows 0",
            remedy="train one, and stress that",
        )
    place = data or Path(run.training.data or "nothing")
    if not place.exists():
        raise RunError(
            f"the training images of run {run.folder} are not in {place}",
            expected="the data set that it was trained on",
            remedy="name the folder where it is now with --data",
        )
    calibrating = list(known)
    if not needed_images(calibration.settings) <= len(calibrating) < len(images):
        calibrating = list(images[::2])
        require_images(
            len(calibrating), calibration.settings, f", which are half of the {len(images)} images; the others measure"
        )
    measuring = tuple(path for path in images if path not in set(calibrating))
    dataset = load_dataset(place, cast("Layout", run.training.layout), list(run.training.categories))
    return FixPlan(folder=folder, dataset=dataset, calibrating=tuple(calibrating), measuring=measuring)


def with_copies(config: Config, strengths: Mapping[PerturbationKind, tuple[float, ...]]) -> Config:
    """Return settings under which a training also sees perturbed copies; those that it saw before stay."""
    changes: dict[str, object] = {
        f"augment.{kind}": tuple(dict.fromkeys((*getattr(config.augment, kind), *found)))
        for kind, found in strengths.items()
    }
    conditions = len(config.updated(changes).augment.perturbations())
    return config.updated({**changes, "augment.copies": min(MOST_COPIES, COPIES_EACH * conditions)})


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
