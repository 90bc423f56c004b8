"""Set thresholds with a guaranteed false-alarm rate, from good parts alone."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from clipada.calibration import (
    Calibration,
    CalibrationImage,
    find_calibration,
    group_of,
    require_images,
    write_calibration,
)
from clipada.config import BatchConfig, CalibrationConfig, EngineKeywords
from clipada.data.listing import find_images
from clipada.data.names import BAD, MASKS, is_good, plain
from clipada.errors import CalibrationError, DatasetError, ImageError
from clipada.files import write_text
from clipada.images import image_sha256
from clipada.inspection import Inspector
from clipada.report import model_card
from clipada.runs import CALIBRATION, CARD, TRAINED_ON, Run, read_run, writes_into_run
from clipada.types import Failure, Progress, ProgressReport, Verdict, unreported

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """A calibration and the images left out of it.

    Attributes:
        calibration: As written into the run folder.
        failures: Images that could not be read.
        trained_on: Images that the model was trained on.
        copies: Images of the same content as another one.
    """

    calibration: Calibration
    failures: tuple[Failure, ...] = ()
    trained_on: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()


@writes_into_run
def calibrate(
    run: Path | str,
    images: Path | str | Iterable[Path | str] = (),
    settings: CalibrationConfig | None = None,
    *,
    rejected: Mapping[Path, str | None] | None = None,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    report: ProgressReport = unreported,
    **engine: Unpack[EngineKeywords],
) -> CalibrationReport:
    """Set a run's thresholds from images of good parts and write its ``calibration.json``.

    Args:
        run: The run folder.
        images: Images or folders of good parts that the model was not trained on. Without any, the run's present
            calibration gets the new guarantee; its groups stay.
        settings: The guarantee.
        rejected: Images of false alarms, and the group of each, which their paths do not name. They may raise
            thresholds, so that such parts pass, and lower none. P-values and group sizes ignore them, because they are
            no random sample of good parts.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        report: Called after every image.
        engine: As for ``EngineKeywords``. The guarantee holds for verdicts of the same engine and precision.

    Raises:
        CalibrationError: There are too few images for the guarantee, or only rejected ones.
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is incomplete.
        BackboneError: The backbone is missing or another one.
    """
    settings = settings or CalibrationConfig()
    description = read_run(Path(run))
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    joining = rejected or {}
    if not given and joining:
        raise CalibrationError(
            "rejected alarms alone are no calibration",
            expected="IMAGES of good parts, which they join",
            remedy="name the images of the present calibration too",
        )
    if not given:
        return _with_guarantee(description, settings)
    paths = find_images(given)
    _refuse_defects(paths)
    fresh, trained_on, copies = _sorted_out([*paths, *joining], description)
    late = (joining.keys() - set(paths)) & set(fresh)
    left_out = f"; {len(trained_on)} more were trained on, {len(copies)} are copies" if trained_on or copies else ""
    require_images(len(fresh) - len(late), settings, left_out)
    inspector = Inspector.load(description, calibrated=False, **engine)
    results = _reported(inspector.inspect_files(fresh, batch_size=batch_size, workers=workers), len(fresh), report)
    scored, rejects, failures = _scored(results, settings.per, {path: joining[path] for path in late})
    calibration = Calibration(
        settings=settings,
        images=scored,
        rejected=rejects,
        model_sha256=description.model_sha256,
        engine=inspector.engine_name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    _write(calibration, description)
    return CalibrationReport(calibration=calibration, failures=failures, trained_on=trained_on, copies=copies)


def _with_guarantee(run: Run, settings: CalibrationConfig) -> CalibrationReport:
    """Put the run's calibration under another guarantee."""
    present = find_calibration(run.folder / CALIBRATION)
    if present is None:
        raise CalibrationError(
            f"run {run.folder} has no calibration yet", expected="IMAGES of good parts", remedy="name some"
        )
    if settings.per not in (None, present.settings.per):
        raise CalibrationError(
            "groups cannot change without images",
            expected="no --per" if present.settings.per is None else f"--per {present.settings.per}",
            got=f"--per {settings.per}",
            remedy="leave --per out, or name the IMAGES again",
        )
    calibration = present.with_guarantee(settings)
    _write(calibration, run)
    return CalibrationReport(calibration=calibration)


def _write(calibration: Calibration, run: Run) -> None:
    """Write the calibration into the run folder, and update its model card."""
    write_calibration(run.folder / CALIBRATION, calibration)
    write_text(run.folder / CARD, model_card(run))


def _refuse_defects(paths: Iterable[Path]) -> None:
    """Refuse images in folders where the known layouts keep defects and masks."""
    for path in paths:
        if any(_holds_defects(folder) for folder in path.absolute().parents[:2]):
            raise DatasetError(
                f"{path} does not seem to show a good part",
                expected="images of good parts alone",
                got=f"folder {path.parent}",
                remedy="name the folders of good parts, e.g. part/test/good",
            )


def _holds_defects(folder: Path) -> bool:
    """Return True for a folder of defects or masks: by its name, or because it is beside ``good`` in ``test``."""
    name, around = plain(folder.name), folder.parent
    tested = plain(around.name) == "test" and not is_good(name) and any(map(is_good, _folders(around)))
    return tested or name in BAD or name in MASKS


def _folders(folder: Path) -> list[str]:
    """List the names of the folders in a folder."""
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _sorted_out(paths: Iterable[Path], run: Run) -> tuple[list[Path], tuple[Path, ...], tuple[Path, ...]]:
    """Sort images into usable ones, those that the run was trained on, and copies of others."""
    trained = run.training_sha256s
    if trained is None:
        log.warning(
            "run %s does not record which images it was trained on (no %s): make sure that none is among these, "
            "or the false-alarm rate will not be kept",
            run.folder,
            TRAINED_ON,
        )
    fresh: dict[str, Path] = {}
    trained_on, copies = [], []
    for path in paths:
        sha256 = _sha256(path)
        if sha256 in (trained or ()):
            trained_on.append(path)
        elif sha256 in fresh:
            copies.append(path)
        else:
            fresh[sha256] = path
    return list(fresh.values()), tuple(trained_on), tuple(copies)


def _sha256(path: Path) -> str:
    """Hash an image; or its name if it cannot be read, so that the inspection reports the error."""
    try:
        return image_sha256(path)
    except ImageError:
        return str(path)


def _reported(results: Iterable[Verdict | Failure], total: int, report: ProgressReport) -> Iterator[Verdict | Failure]:
    """Yield results, reporting progress."""
    for done, result in enumerate(results, start=1):
        yield result
        report(Progress(stage="calibrating", done=done, total=total))


def _scored(
    results: Iterable[Verdict | Failure],
    per: str | None,
    rejected: Mapping[Path, str | None],
) -> tuple[tuple[CalibrationImage, ...], tuple[CalibrationImage, ...], tuple[Failure, ...]]:
    """Return what the calibration keeps of each image, of each rejected image, and the images that cannot be read."""
    scored: list[CalibrationImage] = []
    late: list[CalibrationImage] = []
    failures: list[Failure] = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        elif result.path is not None and result.path in rejected:
            late.append(_image(result, rejected[result.path]))
        else:
            scored.append(_image(result, group_of(result.path, per) if result.path else None))
    groups = {image.group for image in scored}
    if per is not None and not any(groups):
        raise CalibrationError(f"no image's path names a group by {per!r}", remedy="correct --per, or leave it out")
    late = [image if image.group in groups else replace(image, group=None) for image in late]
    return _ordered(scored), _ordered(late), tuple(failures)


def _ordered(images: Iterable[CalibrationImage]) -> tuple[CalibrationImage, ...]:
    """Sort images by group and rising score."""
    return tuple(sorted(images, key=lambda image: (image.group or "", image.score, image.sha256)))


def _image(verdict: Verdict, group: str | None) -> CalibrationImage:
    peak = float(verdict.anomaly_map.max())
    return CalibrationImage(sha256=verdict.image_sha256, score=verdict.score, peak=peak, group=group)
