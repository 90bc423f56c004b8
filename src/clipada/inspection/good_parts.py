"""Images of good parts for a calibration: those that it may use, and what it keeps of each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clipada.calibration import PRODUCT, CalibrationImage, group_of, product_by_split
from clipada.calibration.objections import shown
from clipada.data.labels import mask_error
from clipada.errors import CalibrationError, DatasetError, ImageError
from clipada.images import image_sha256
from clipada.runs import TRAINED_ON, Run
from clipada.types import Failure, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredParts:
    """Scores of images of good parts.

    Attributes:
        images: What the calibration keeps of each.
        rejected: The same of rejected false alarms.
        failures: Images that could not be read.
        unlike: Images that are not inspectable, and the reason of each.
    """

    images: tuple[CalibrationImage, ...]
    rejected: tuple[CalibrationImage, ...]
    failures: tuple[Failure, ...]
    unlike: Mapping[Path, str]


def sort_out(paths: Iterable[Path], run: Run) -> tuple[list[Path], tuple[Path, ...], tuple[Path, ...]]:
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


def warn_of_other_products(paths: Iterable[Path], per: str | None, run: Run) -> None:
    """Log a warning if images are in folders of products that the run was not trained on.

    Without groups, only the folder above ``train`` or ``test`` is taken for a product's name.
    """
    if per not in (None, PRODUCT):
        return
    names = {product_by_split(path) if per is None else group_of(path, per) for path in paths}
    others = sorted(name for name in names if name is not None and name not in run.training.categories)
    if others:
        log.warning(
            "run %s was not trained on %s, but on %s", run.label, shown(others), shown(list(run.training.categories))
        )


def _sha256(path: Path) -> str:
    """Hash an image; or its name if it cannot be read, so that the inspection reports the error."""
    try:
        return image_sha256(path)
    except ImageError:
        return str(path)


def scored_parts(
    results: Iterable[Verdict | Failure], per: str | None, rejected: Mapping[Path, str | None], unlike_share: float
) -> ScoredParts:
    """Return what the calibration keeps of each image.

    Args:
        results: One for each image.
        per: The rule of groups.
        rejected: Images of false alarms and their groups.
        unlike_share: Images that are not inspectable are left out if they are at most this share of all, 0..1.

    Raises:
        CalibrationError: No image has a group.
        DatasetError: An image is a mask.
    """
    scored: dict[Path, CalibrationImage] = {}
    late: list[CalibrationImage] = []
    failures: list[Failure] = []
    unlike: dict[Path, str] = {}
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        elif (error := mask_error(result)) is not None:
            raise DatasetError(error.what, expected="images of good parts alone", got=error.got, remedy=error.remedy)
        elif result.path is not None and result.path in rejected:
            late.append(_image(result, rejected[result.path]))
        elif result.path is not None:
            scored[result.path] = _image(result, group_of(result.path, per))
            if result.input_reason is not None:
                unlike[result.path] = result.input_reason
    kept = [one for path, one in scored.items() if path not in unlike or len(unlike) > unlike_share * len(scored)]
    groups = {image.group for image in kept}
    if per is not None and not any(groups):
        raise CalibrationError(f"no image's path names a group by {per!r}", remedy="correct --per, or leave it out")
    late = [image if image.group in groups else replace(image, group=None) for image in late]
    return ScoredParts(images=_ordered(kept), rejected=_ordered(late), failures=tuple(failures), unlike=unlike)


def _ordered(images: Iterable[CalibrationImage]) -> tuple[CalibrationImage, ...]:
    """Sort images by group and rising score."""
    return tuple(sorted(images, key=lambda image: (image.group or "", image.score, image.sha256)))


def _image(verdict: Verdict, group: str | None) -> CalibrationImage:
    peak = float(verdict.anomaly_map.max())
    return CalibrationImage(sha256=verdict.image_sha256, score=verdict.score, peak=peak, group=group)
