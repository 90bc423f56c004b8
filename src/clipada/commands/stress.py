"""Measure how many good parts are called defective when position, focus, light or noise change."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack

from clipada.calibration import Calibration
from clipada.commands.add import join_memory
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate, measure
from clipada.commands.train import require_training, train
from clipada.config import BatchConfig, Config, EngineKeywords, EngineOptions, RuntimeConfig, StressConfig
from clipada.data.labels import refuse_defects
from clipada.data.listing import find_images
from clipada.errors import ImageError
from clipada.evaluation.metrics import mean_metrics
from clipada.files import lock_folder
from clipada.images import image_sha256
from clipada.inspection import Inspector
from clipada.inspection.good_parts import sort_out
from clipada.inspection.stress import require_calibration, run_stress_test
from clipada.inspection.stress_counts import StressTest
from clipada.report.stress import StressFacts, write_stress
from clipada.runs import Run, read_run, writing_into
from clipada.runs.contents import ROI
from clipada.runs.roi import write_roi
from clipada.training.resume import GivenKeywords
from clipada.training.stress_fix import FixPlan, plan_fix, with_copies
from clipada.types import Failure, ProgressReport, labeled, unreported

STRESS = "stress"
"""Folder in a run folder with the result of its last stress test."""


@dataclass(frozen=True, kw_only=True)
class StressFix:
    """A new run that was trained on perturbed copies, too, so that fewer good parts alarm.

    Attributes:
        run: The new run, calibrated.
        test: Its stress test, on the images of the report.
        folder: The folder with the files of this test.
        calibrated: Number of images that set its thresholds; 0 where the training images do, cross-fitted.
        pixel_ap: Mean average precision over the pixels of the data set's test images, 0..1, of the old run and of the
            new one; ``None`` where there are no masks.
    """

    run: Run
    test: StressTest
    folder: Path
    calibrated: int
    pixel_ap: tuple[float | None, float | None]


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
        fix: The new run, if one was asked for and there are false alarms to bring back.
    """

    test: StressTest
    folder: Path
    images: int
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    calibrated_with: tuple[Path, ...] = field(default=(), repr=False)
    fix: StressFix | None = None

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
    fix: Path | str | None = None,
    data: Path | str | None = None,
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
        fix: A new run folder. Where a perturbation raises false alarms above the allowed rate beyond chance, a run is
            trained there that sees copies so perturbed; it is calibrated with some of the images, and both runs are
            measured on the others. The old run stays as it is. If it is interrupted, the next call continues.
        data: The images that the run was trained on, for ``fix``; by default where they were.
        batch_size: Images per forward pass.
        workers: Threads that score.
        report: Called after every image.
        engine: As for ``EngineKeywords``.

    Raises:
        CalibrationError: The run is not calibrated, its calibration is damaged, or ``fix`` needs more images.
        ConfigError: The run has no memory, which ``fix`` needs.
        DatasetError: An image shows a defect by its name, or is a mask.
        ImageError: A path does not exist, or no image is found, or none that can be used.
        RunError: The run folder is incomplete, a folder cannot be written to, or the training images are gone.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    tester = _Tester(settings or StressConfig(), EngineOptions.of(**engine), batch_size, workers, report)
    inspector = Inspector.load(description, engine=tester.engine)
    calibration = require_calibration(inspector)
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    fresh, trained_on, copies = good_parts(given, description)
    known = calibrated_with(fresh, calibration)
    plan = None
    if fix is not None:
        require_training()
        plan = plan_fix(description, calibration, fresh, known, Path(fix), None if data is None else Path(data))
        fresh = list(plan.measuring)
        known = tuple(path for path in known if path in plan.measuring)
    folder = Path(out) if out is not None else description.folder / STRESS
    test = tester.test(inspector, fresh, folder)
    return StressReport(
        test=test,
        folder=folder,
        images=test.plain.good.images,
        trained_on=trained_on,
        copies=copies,
        calibrated_with=known,
        fix=None if plan is None or not test.harmful() else _fixed(description, plan, test, tester),
    )


def _fixed(old: Run, plan: FixPlan, before: StressTest, tester: _Tester) -> StressFix:
    """Train, calibrate, stress and evaluate the new run; continue if that was interrupted."""
    engine, report = tester.engine, tester.report
    _learn(plan, with_copies(old.config, before.harmful()), engine, labeled(report, "fix"))
    guarantee = require_calibration(Inspector.load(old, engine=engine)).settings
    calibrate(
        plan.folder,
        plan.calibrating,
        guarantee,
        cross_fit=plan.cross_fit,
        report=labeled(report, "fix"),
        engine=engine,
    )
    inspector = Inspector.load(plan.folder, engine=engine)
    after = replace(tester, report=labeled(report, "fix")).test(inspector, plan.measuring, plan.folder / STRESS, before)
    pixel_ap = _pixel_ap(old, plan, tester) if any(sample.masks for sample in plan.dataset.test) else (None, None)
    return StressFix(
        run=read_run(plan.folder),
        test=after,
        folder=plan.folder / STRESS,
        calibrated=len(plan.calibrating),
        pixel_ap=pixel_ap,
    )


def _learn(plan: FixPlan, config: Config, engine: EngineOptions, report: ProgressReport) -> None:
    """Train the new run on what the old one was trained on, and add what was added to that."""
    if engine.backbone is not None:
        config = config.updated({"backbone.name": engine.backbone})
    runtime = RuntimeConfig(device=engine.device)
    given: GivenKeywords = {"defects": plan.defects}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if plan.regions is not None:
            write_roi(Path(folder), plan.regions)
            given["roi"] = Path(folder) / ROI
        new = train(plan.dataset, plan.folder, config, runtime=runtime, resume=True, report=report, **given)
    done = 0 if new.revision is None else len(new.revision.parts)
    for part in plan.added[done:]:
        with writing_into(plan.folder):
            assigned = {part.product: part.paths}
            join_memory(read_run(plan.folder), assigned, part.condition, engine.backbone, runtime, report)


def _pixel_ap(old: Run, plan: FixPlan, tester: _Tester) -> tuple[float | None, float | None]:
    """Return the mean pixel AP of the old and of the new run on the test images; keep the metrics of the new one."""
    batch_size, workers, engine = tester.batch_size, tester.workers, tester.engine
    before = measure(
        old,
        plan.dataset,
        batch_size=batch_size,
        workers=workers,
        report=labeled(tester.report, "before"),
        engine=engine,
    )
    after = evaluate(
        plan.folder,
        plan.dataset,
        batch_size=batch_size,
        workers=workers,
        report=labeled(tester.report, "after"),
        engine=engine,
    )
    first, second = (mean_metrics(one.categories.values()).pixel_ap for one in (before, after))
    return first, second


@dataclass(frozen=True)
class _Tester:
    """Options of a stress test that are the same for the old and the new run."""

    settings: StressConfig
    engine: EngineOptions
    batch_size: int
    workers: int
    report: ProgressReport

    def test(
        self, inspector: Inspector, images: Sequence[Path], folder: Path, before: StressTest | None = None
    ) -> StressTest:
        """Perturb images and write the files into a folder."""
        calibration = require_calibration(inspector)
        with lock_folder(folder):
            test = run_stress_test(
                inspector,
                images,
                self.settings,
                batch_size=self.batch_size,
                workers=self.workers,
                report=self.report,
            )
            require_any(test, images)
            facts = StressFacts(
                run=inspector.run,
                calibration=calibration.id,
                engine=inspector.engine_name,
                command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            )
            write_stress(folder, test, facts, before)
        return test


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
