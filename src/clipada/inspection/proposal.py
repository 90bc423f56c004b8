"""Proposal of a calibration: thresholds from scores of good parts, and the objections to them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clipada.calibration import Calibration, require_images, with_attainable_rate
from clipada.calibration.objections import out_of_reach, unlike_training, unreached
from clipada.config import BatchConfig, CalibrationCheckConfig, CalibrationConfig, EngineOptions
from clipada.data.labels import refuse_defects
from clipada.data.listing import find_images
from clipada.inspection.good_parts import ScoredParts, scored_parts, sort_out, warn_of_other_products
from clipada.inspection.inspector import Inspector
from clipada.inspection.synthetic import can_draw_defects, group_defect_scores
from clipada.runs import Run
from clipada.types import Failure, Progress, ProgressReport, Verdict


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A calibration that is not written yet.

    Attributes:
        calibration: The calibration.
        objections: Reasons not to write it, in words.
        failures: Images that could not be read.
        trained_on: Images that the model was trained on.
        copies: Images of the same content as another one.
        not_inspectable: Images that are unlike the training images, and the reason of each.
        alone: Products with a single training image, which cross-fitting cannot score.
    """

    calibration: Calibration
    objections: list[str]
    failures: tuple[Failure, ...] = ()
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    not_inspectable: Mapping[Path, str] = field(default_factory=dict)
    alone: tuple[str, ...] = ()


def propose_from_images(
    given: Sequence[Path],
    rejected: Mapping[Path, str | None],
    run: Run,
    settings: CalibrationConfig,
    force: bool,
    batches: BatchConfig,
    engine: EngineOptions,
    report: ProgressReport,
) -> Proposal:
    """Propose the calibration from images of good parts that were held out."""
    paths, checks = find_images(given), CalibrationCheckConfig()
    refuse_defects(paths)
    fresh, trained_on, copies = sort_out([*paths, *rejected], run)
    late = {path: rejected[path] for path in (rejected.keys() - set(paths)) & set(fresh)}
    left_out = f"; {len(trained_on)} more were trained on, {len(copies)} are copies" if trained_on or copies else ""
    require_images(len(fresh) - len(late), settings, left_out)
    good = [path for path in fresh if path not in late]
    warn_of_other_products(good, settings.per, run)
    inspector = Inspector.load(run, calibrated=False, engine=engine)
    results = inspector.inspect_files(fresh, batch_size=batches.batch_size, workers=batches.workers)
    parts = scored_parts(_reported(results, len(fresh), report), settings.per, late, checks.unlike_share)
    calibration = _calibration(parts, settings, inspector, run)
    objections = unlike_training(parts.unlike, len(good), checks.unlike_share)
    return Proposal(
        calibration=calibration,
        objections=[*objections, *_out_of_reach(inspector, good, calibration, force, batches.batch_size)],
        failures=parts.failures,
        trained_on=trained_on,
        copies=copies,
        not_inspectable={} if objections else parts.unlike,
    )


def propose_cross_fitted(
    inspector: Inspector,
    run: Run,
    results: Iterable[Verdict | Failure],
    images: Sequence[Path],
    folds: int,
    settings: CalibrationConfig,
    force: bool,
    batches: BatchConfig,
    report: ProgressReport,
) -> Proposal:
    """Propose the calibration from training images.

    Args:
        inspector: The inspector, which knows no calibration.
        run: The run.
        results: Verdicts on the training images, each as if it had not been trained on.
        images: These images.
        folds: Number of folds that they are divided into.
        settings: The guarantee, in marginal mode; the rate becomes the lowest that the images allow.
        force: True if objections do not count.
        batches: Images per forward pass.
        report: Called after every image.
    """
    everything = 1.0  # none is unlike the training images that it is one of
    parts = scored_parts(_reported(results, len(images), report), settings.per, {}, everything)
    calibration = _calibration(parts, with_attainable_rate(settings, len(parts.images)), inspector, run, folds)
    objections = _out_of_reach(inspector, images, calibration, force, batches.batch_size)
    return Proposal(calibration=calibration, objections=objections, failures=parts.failures)


def _calibration(
    parts: ScoredParts, settings: CalibrationConfig, inspector: Inspector, run: Run, folds: int = 0
) -> Calibration:
    """Make the calibration of scored images."""
    return Calibration(
        settings=settings,
        images=parts.images,
        rejected=parts.rejected,
        folds=folds,
        model_sha256=run.model_sha256,
        engine=inspector.engine_name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def _out_of_reach(
    inspector: Inspector, good: Sequence[Path], calibration: Calibration, force: bool, batch_size: int
) -> list[str]:
    """Object to thresholds that synthetic defects do not reach, or hardly any defect where none can be drawn."""
    checks = CalibrationCheckConfig()
    if not can_draw_defects():
        return out_of_reach(calibration, checks.ceiling)
    if force:
        return []
    return unreached(calibration, group_defect_scores(inspector, good, calibration, checks, batch_size))


def _reported(results: Iterable[Verdict | Failure], total: int, report: ProgressReport) -> Iterator[Verdict | Failure]:
    """Yield results, reporting progress."""
    for done, result in enumerate(results, start=1):
        yield result
        report(Progress(stage="calibrating", done=done, total=total))
