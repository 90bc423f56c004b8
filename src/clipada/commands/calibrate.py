"""Set thresholds with a guaranteed false-alarm rate, from good parts alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

from clipada.calibration import (
    Calibration,
    CalibrationChange,
    find_calibration,
    previous_path,
    read_calibration,
    swap_calibrations,
    write_calibration,
)
from clipada.calibration.objections import alarms_before, lost_groups, out_of_reach
from clipada.calibration.record import no_confidence
from clipada.commands.evaluate import decide_again
from clipada.config import (
    BatchConfig,
    CalibrationCheckConfig,
    CalibrationConfig,
    CrossFitConfig,
    EngineKeywords,
    EngineOptions,
)
from clipada.data.mvtec import threshold_images
from clipada.errors import CalibrationError
from clipada.evaluation.kinds import Decisions
from clipada.inspection import Inspector
from clipada.inspection.proposal import Proposal, propose_cross_fitted, propose_from_images
from clipada.runs import (
    CALIBRATION,
    Run,
    SealedFile,
    changing,
    read_run,
    require_same_model,
    usable_calibration,
    writes_into_run,
)
from clipada.types import Failure, ProgressReport, ignored, unreported

log = logging.getLogger(__name__)

Review = Callable[[CalibrationChange], None]
"""Called with the change that a new calibration makes, before anything is written."""


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """A calibration and the images left out of it.

    Attributes:
        calibration: As written into the run folder.
        change: Difference to the calibration that it replaced; ``None`` if there was none that can be used.
        failures: Images that could not be read.
        trained_on: Images that the model was trained on.
        copies: Images of the same content as another one.
        not_inspectable: Images that are unlike the training images, and the reason of each.
        alone: Products with a single training image, which cross-fitting cannot score.
        decisions: The decisions on the test images of the last evaluation, if there was one.
    """

    calibration: Calibration
    change: CalibrationChange | None = None
    failures: tuple[Failure, ...] = ()
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    not_inspectable: Mapping[Path, str] = field(default_factory=dict)
    alone: tuple[str, ...] = ()
    decisions: Decisions | None = None


@writes_into_run
def calibrate(
    run: Path | str,
    images: Path | str | Iterable[Path | str] = (),
    settings: CalibrationConfig | None = None,
    *,
    cross_fit: CrossFitConfig | None = None,
    rejected: Mapping[Path, str | None] | None = None,
    force: bool = False,
    review: Review = ignored,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> CalibrationReport:
    """Set a run's thresholds from images of good parts and write its ``calibration.json``.

    The calibration that it replaces is kept beside it, for ``undo_calibration``.

    Args:
        run: The run folder.
        images: Images or folders of good parts that the model was not trained on; of a data set with photos for
            thresholds (``validation/good``), these. Without any, the run's present calibration gets the new guarantee;
            its groups stay. Without a calibration either, it is cross-fitted.
        settings: The guarantee; by default ``CalibrationConfig()``, in marginal mode where scores are cross-fitted.
        cross_fit: Score the training images, each without its own rows in the memory, instead of ``images``, also if
            there is a calibration. Such thresholds hold on average over trainings, with no confidence.
        rejected: Images of false alarms, and the group of each, which their paths do not name. They may raise
            thresholds, so that such parts pass, and lower none. P-values and group sizes ignore them, because they are
            no random sample of good parts.
        force: True to write the calibration although the images are unlike the training images, it loses groups of
            the present one, or has a threshold that no synthetic defect reaches.
        review: Called with the change before anything is written, if there is a calibration already; it may raise.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        report: Called after every image.
        engine: As for ``EngineKeywords``. The guarantee holds for verdicts of the same engine and precision.

    Raises:
        CalibrationError: There are too few images for the guarantee, or only rejected ones; or ``force`` is needed.
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is incomplete.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    named = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    given = [image for path in named for image in threshold_images(path) or [path]]
    present = None if given or rejected or cross_fit else find_calibration(description.folder / CALIBRATION)
    if not (given or rejected or present):
        cross_fit = cross_fit or CrossFitConfig()
    crossed = cross_fit is not None or (present is not None and present.folds > 0)
    settings = settings or CalibrationConfig(mode="marginal" if crossed else CalibrationConfig.mode)
    options = EngineOptions.of(**engine)
    batches = BatchConfig(batch_size=batch_size, workers=workers)
    if cross_fit is not None and (given or rejected):
        raise CalibrationError(
            "cross-fitting uses the training images alone",
            expected="IMAGES or rejected alarms, or --cross-fit",
            got="both",
            remedy="leave --cross-fit out: images that were held out guarantee more",
        )
    if cross_fit is not None:
        proposed = _cross_fitted(description, settings, cross_fit, force, batches, options, report)
    elif given:
        proposed = propose_from_images(given, rejected or {}, description, settings, force, batches, options, report)
    elif present is None:
        raise CalibrationError(
            "rejected alarms alone are no calibration",
            expected="IMAGES of good parts, which they join",
            remedy="name the images of the present calibration too",
        )
    else:
        calibration = _with_guarantee(present, description, settings)
        objections = out_of_reach(calibration, CalibrationCheckConfig.ceiling)
        proposed = Proposal(calibration=calibration, objections=objections)
    allowed, count = proposed.calibration.settings.false_alarm_rate, len(proposed.calibration.images)
    if allowed > settings.false_alarm_rate:
        asked = 100 * settings.false_alarm_rate
        log.warning("%d training images cannot keep %g %% of false alarms: expect 1 in %d", count, asked, count + 1)
    return _written(proposed, description, force, review)


@writes_into_run
def undo_calibration(run: Path | str, *, review: Review = ignored) -> CalibrationReport:
    """Restore the calibration that the latest ``calibrate`` replaced; a second call takes that back.

    Args:
        run: The run folder.
        review: Called with the change before anything is written; it may raise.

    Raises:
        CalibrationError: There is no previous calibration, or it is damaged or of another model.
        RunError: The run folder is incomplete.
    """
    description = read_run(Path(run))
    kept = previous_path(description.folder / CALIBRATION)
    if not kept.exists():
        raise CalibrationError(
            f"run {run} has no previous calibration",
            expected=f"{kept.name}, which `clipada calibrate` leaves when it replaces a calibration",
            remedy="calibrate again, with the images of the calibration that you want back",
        )
    previous, present = read_calibration(kept), usable_calibration(description)
    require_same_model(previous, kept, description)
    change = None if present is None else CalibrationChange(old=present, new=previous)
    if change is not None:
        review(change)
    with changing(description.folder, {CALIBRATION: SealedFile.of_json(previous.to_dict())}):
        swap_calibrations(description.folder / CALIBRATION, previous, present)
    return CalibrationReport(calibration=previous, change=change, decisions=decide_again(description, previous))


def _with_guarantee(present: Calibration, run: Run, settings: CalibrationConfig) -> Calibration:
    """Return the run's calibration under another guarantee."""
    require_same_model(present, run.folder / CALIBRATION, run)
    if settings.per not in (None, present.settings.per):
        raise CalibrationError(
            "groups cannot change without images",
            expected="no --per" if present.settings.per is None else f"--per {present.settings.per}",
            got=f"--per {settings.per}",
            remedy="leave --per out, or name the IMAGES again",
        )
    return present.with_guarantee(settings)


def _cross_fitted(
    run: Run,
    settings: CalibrationConfig,
    cross_fit: CrossFitConfig,
    force: bool,
    batches: BatchConfig,
    engine: EngineOptions,
    report: ProgressReport,
) -> Proposal:
    """Return the calibration from the training images, each inspected without the rows of its fold."""
    if settings.mode != "marginal":
        raise no_confidence(settings)
    from clipada.training.cross_fit import cross_folds  # PyTorch takes seconds to import

    inspector = Inspector.load(run, calibrated=False, engine=engine)
    divided = cross_folds(run, inspector.engine, cross_fit, report)
    results = (divided.inspect(path, inspector.inspect) for path in divided.images)
    images = list(divided.images)
    found = propose_cross_fitted(inspector, run, results, images, divided.count, settings, force, batches, report)
    return replace(found, copies=divided.copies, alone=divided.alone)


def _written(proposed: Proposal, run: Run, force: bool, review: Review) -> CalibrationReport:
    """Write a proposed calibration into the run folder, and update its model card.

    Args:
        proposed: The new calibration and the objections to it; the ones to the change are added.
        run: The run.
        force: True to write it despite objections.
        review: Called with the change before.
    """
    present, objections = usable_calibration(run), proposed.objections
    change = None if present is None else CalibrationChange(old=present, new=proposed.calibration)
    if change is not None:
        review(change)
        objections = [*lost_groups(change), *objections, *alarms_before(change, CalibrationCheckConfig.alarm_share)]
    if objections and not force:
        raise CalibrationError(
            "the new calibration is not written: " + "; ".join(objections),
            expected="good parts of the same products, without defects and with the same camera and light",
            remedy="check the images; use --force (Python: force=True) to write it nevertheless",
        )
    for objection in objections:
        log.warning("written nevertheless: %s", objection)
    with changing(run.folder, {CALIBRATION: SealedFile.of_json(proposed.calibration.to_dict())}):
        write_calibration(run.folder / CALIBRATION, proposed.calibration, present)
    return CalibrationReport(
        calibration=proposed.calibration,
        change=change,
        failures=proposed.failures,
        trained_on=proposed.trained_on,
        copies=proposed.copies,
        not_inspectable=proposed.not_inspectable,
        alone=proposed.alone,
        decisions=decide_again(run, proposed.calibration),
    )
