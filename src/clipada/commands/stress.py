"""Measure how many good parts are called defective when position, focus, light or noise change."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from clipada.calibration import Calibration
from clipada.config import BatchConfig, EngineKeywords, StressConfig
from clipada.data.labels import refuse_defects
from clipada.data.listing import find_images
from clipada.errors import ImageError
from clipada.files import lock_folder
from clipada.images import image_sha256
from clipada.inspection import Inspector
from clipada.inspection.good_parts import sort_out
from clipada.inspection.stress import StressTest, require_calibration, run_stress_test
from clipada.report.stress import StressFacts, write_stress
from clipada.runs import Run, read_run
from clipada.types import Failure, ProgressReport, unreported

STRESS = "stress"
"""Folder in a run folder with the result of its last stress test."""


@dataclass(frozen=True, kw_only=True)
class StressReport:
    """A stress test and where it is written.

    Attributes:
        test: The result.
        folder: The folder with ``stress.json``, ``stress.csv``, ``stress.html`` and ``stress.svg``.
        images: Number of images that were perturbed.
        trained_on: Images left out because the model was trained on them.
        copies: Images left out because they have the same content as another one.
        calibrated_with: Images of which the thresholds come, which are in the test nevertheless.
    """

    test: StressTest
    folder: Path
    images: int
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    calibrated_with: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Images that could not be read."""
        return self.test.failures


def stress(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: StressConfig | None = None,
    *,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> StressReport:
    """Perturb photos of good parts, and count how many a calibrated run calls defective at its present thresholds.

    Beside it is the share of synthetic defects that are found under the same perturbation. Writes ``stress.json``,
    ``stress.csv``, ``stress.svg`` and a page ``stress.html``. The same images and seed give the same result.

    Args:
        run: The run folder.
        images: Images or folders of good parts that the model was not trained on.
        out: The folder to write into; by default ``stress`` in the run folder.
        settings: Strengths of the perturbations, and numbers of images and defects.
        batch_size: Images per forward pass.
        workers: Threads that score.
        report: Called after every forward pass.
        engine: As for ``EngineKeywords``.

    Raises:
        CalibrationError: The run is not calibrated, or its calibration is damaged.
        DatasetError: An image shows a defect by its name, or is a mask.
        ImageError: A path does not exist, or no image is found, or none that can be used.
        RunError: The run folder is incomplete, or ``out`` cannot be written to.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    inspector = Inspector.load(description, **engine)
    calibration = require_calibration(inspector)
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    fresh, trained_on, copies = good_parts(given, description)
    folder = Path(out) if out is not None else description.folder / STRESS
    with lock_folder(folder):
        test = run_stress_test(
            inspector, fresh, settings or StressConfig(), batch_size=batch_size, workers=workers, report=report
        )
        require_any(test, given)
        facts = StressFacts(
            run=description,
            calibration=calibration.id,
            engine=inspector.engine_name,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        )
        write_stress(folder, test, facts)
    return StressReport(
        test=test,
        folder=folder,
        images=test.plain.good.images,
        trained_on=trained_on,
        copies=copies,
        calibrated_with=calibrated_with(fresh, calibration),
    )


def good_parts(given: Iterable[Path], run: Run) -> tuple[list[Path], tuple[Path, ...], tuple[Path, ...]]:
    """Return images that the run was not trained on, those that it was, and copies of others."""
    paths = find_images(given)
    refuse_defects(paths)
    fresh, trained_on, copies = sort_out(paths, run)
    if not fresh:
        raise ImageError(
            "no image to perturb",
            expected="photos of good parts that the model was not trained on",
            got=f"{len(trained_on)} that it was trained on",
            remedy="name other photos of good parts",
        )
    return fresh, trained_on, copies


def require_any(test: StressTest, given: Iterable[Path]) -> None:
    """Raise ``ImageError`` if no image could be read."""
    if not test.plain.good.images:
        raise ImageError(
            "no image can be read",
            expected="photos of good parts",
            got=f"{len(test.failures)} damaged files in {', '.join(map(str, given))}",
            remedy=f"check the files; the first error: {test.failures[0].error.what}",
        )


def calibrated_with(paths: Iterable[Path], calibration: Calibration) -> tuple[Path, ...]:
    """Return the images of which the thresholds come."""
    known = {image.sha256 for image in calibration.images}
    return tuple(path for path in paths if _sha256(path) in known)


def _sha256(path: Path) -> str | None:
    try:
        return image_sha256(path)
    except ImageError:
        return None
