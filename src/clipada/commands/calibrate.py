"""Set thresholds with a guaranteed false-alarm rate, from good parts alone."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from clipada.calibration import (
    Calibration,
    CalibrationChange,
    find_calibration,
    group_of,
    previous_path,
    read_calibration,
    require_images,
    swap_calibrations,
    write_calibration,
)
from clipada.calibration.conformal import Scores
from clipada.calibration.objections import alarms_before, lost_groups, out_of_reach, unlike_training, unreached
from clipada.commands.evaluate import decide_again
from clipada.config import BatchConfig, CalibrationCheckConfig, CalibrationConfig, EngineKeywords, EngineOptions
from clipada.data.labels import refuse_defects
from clipada.data.listing import find_images
from clipada.data.mvtec import threshold_images
from clipada.errors import CalibrationError
from clipada.evaluation.kinds import Decisions
from clipada.inspection import Inspector
from clipada.inspection.good_parts import scored_parts, sort_out, warn_of_other_products
from clipada.inspection.synthetic import can_draw_defects, synthetic_scores
from clipada.runs import CALIBRATION, Run, SealedFile, changing, read_run, writes_into_run
from clipada.types import Failure, Progress, ProgressReport, Verdict, ignored, unreported

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
        decisions: The decisions on the test images of the last evaluation, if there was one.
    """

    calibration: Calibration
    change: CalibrationChange | None = None
    failures: tuple[Failure, ...] = ()
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    not_inspectable: Mapping[Path, str] = field(default_factory=dict)
    decisions: Decisions | None = None


@writes_into_run
def calibrate(
    run: Path | str,
    images: Path | str | Iterable[Path | str] = (),
    settings: CalibrationConfig | None = None,
    *,
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
            its groups stay.
        settings: The guarantee.
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
    settings = settings or CalibrationConfig()
    description = read_run(Path(run))
    named = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    given = [image for path in named for image in threshold_images(path) or [path]]
    if given:
        options = EngineOptions.of(**engine)
        batches = BatchConfig(batch_size=batch_size, workers=workers)
        proposed, objections = _from_images(
            given, rejected or {}, description, settings, force, batches, options, report
        )
    elif rejected:
        raise CalibrationError(
            "rejected alarms alone are no calibration",
            expected="IMAGES of good parts, which they join",
            remedy="name the images of the present calibration too",
        )
    else:
        proposed = CalibrationReport(calibration=_with_guarantee(description, settings))
        objections = out_of_reach(proposed.calibration, CalibrationCheckConfig.ceiling)
    return _written(proposed, objections, description, force, review)


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
    previous, present = read_calibration(kept), _present(description)
    _require_same_model(previous, kept, description)
    change = None if present is None else CalibrationChange(old=present, new=previous)
    if change is not None:
        review(change)
    with changing(description.folder, {CALIBRATION: SealedFile.of_json(previous.to_dict())}):
        swap_calibrations(description.folder / CALIBRATION, previous, present)
    return CalibrationReport(calibration=previous, change=change, decisions=decide_again(description, previous))


def _with_guarantee(run: Run, settings: CalibrationConfig) -> Calibration:
    """Return the run's calibration under another guarantee."""
    path = run.folder / CALIBRATION
    present = find_calibration(path)
    if present is None:
        raise CalibrationError(
            f"run {run.folder} has no calibration yet", expected="IMAGES of good parts", remedy="name some"
        )
    _require_same_model(present, path, run)
    if settings.per not in (None, present.settings.per):
        raise CalibrationError(
            "groups cannot change without images",
            expected="no --per" if present.settings.per is None else f"--per {present.settings.per}",
            got=f"--per {settings.per}",
            remedy="leave --per out, or name the IMAGES again",
        )
    return present.with_guarantee(settings)


def _from_images(
    given: Sequence[Path],
    rejected: Mapping[Path, str | None],
    run: Run,
    settings: CalibrationConfig,
    force: bool,
    batches: BatchConfig,
    engine: EngineOptions,
    report: ProgressReport,
) -> tuple[CalibrationReport, list[str]]:
    """Return the calibration from images of good parts, and the objections to it by these images."""
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
    calibration = Calibration(
        settings=settings,
        images=parts.images,
        rejected=parts.rejected,
        model_sha256=run.model_sha256,
        engine=inspector.engine_name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    objections = unlike_training(parts.unlike, len(good), checks.unlike_share)
    proposed = CalibrationReport(
        calibration=calibration,
        failures=parts.failures,
        trained_on=trained_on,
        copies=copies,
        not_inspectable={} if objections else parts.unlike,
    )
    if not can_draw_defects():
        objections += out_of_reach(calibration, checks.ceiling)
    elif not force:
        objections += unreached(calibration, _defect_scores(inspector, good, calibration, checks, batches.batch_size))
    return proposed, objections


def _defect_scores(
    inspector: Inspector,
    paths: Iterable[Path],
    calibration: Calibration,
    checks: CalibrationCheckConfig,
    batch_size: int,
) -> dict[str | None, Scores]:
    """Score synthetic defects in the images of each group with thresholds of its own, and in all others."""
    groups: dict[str | None, list[Path]] = {}
    for path in paths:
        groups.setdefault(calibration.threshold_group(group_of(path, calibration.settings.per)), []).append(path)
    return {name: synthetic_scores(inspector, images, checks, batch_size) for name, images in groups.items()}


def _written(
    proposed: CalibrationReport, objections: Sequence[str], run: Run, force: bool, review: Review
) -> CalibrationReport:
    """Write a proposed calibration into the run folder, and update its model card.

    Args:
        proposed: The report of the new calibration.
        objections: Those to the calibration itself; the ones to the change are added.
        run: The run.
        force: True to write it despite objections.
        review: Called with the change before.
    """
    present = _present(run)
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
    return replace(proposed, change=change, decisions=decide_again(run, proposed.calibration))


def _present(run: Run) -> Calibration | None:
    """Return the run's calibration if it can be used, else log the reason."""
    try:
        present = find_calibration(run.folder / CALIBRATION)
        if present is not None:
            _require_same_model(present, run.folder / CALIBRATION, run)
    except CalibrationError as error:
        log.warning("the present calibration is not kept: %s", error.what)
        return None
    return present


def _require_same_model(calibration: Calibration, path: Path, run: Run) -> None:
    """Raise ``CalibrationError`` if a calibration is of another model."""
    if calibration.model_sha256 != run.model_sha256:
        raise CalibrationError(
            f"{path} is not of run {run.label}",
            expected=f"model sha256 {run.model_sha256[:12]}",
            got=f"model sha256 {calibration.model_sha256[:12]}",
            remedy="name IMAGES of good parts to calibrate again",
        )


def _reported(results: Iterable[Verdict | Failure], total: int, report: ProgressReport) -> Iterator[Verdict | Failure]:
    """Yield results, reporting progress."""
    for done, result in enumerate(results, start=1):
        yield result
        report(Progress(stage="calibrating", done=done, total=total))
