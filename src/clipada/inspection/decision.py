"""Decision of a verdict: finite maps, the input check, and a calibration that fits the model."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipada.calibration import PRODUCT, Calibration, group_of
from clipada.calibration.image_statistics import image_statistics
from clipada.calibration.input_check import InputCheck
from clipada.config import ScoringConfig
from clipada.config.image_rules import rules_of
from clipada.errors import CalibrationError, ClipAdaError, ImageError, RunError
from clipada.images import restore_map
from clipada.images.roi import seen_inside
from clipada.inspection.reading import ReadImage, Source, read_image
from clipada.scoring import final_map
from clipada.types import Engine, LocalizedImage, Map, Mask, ModelIdentity, Verdict

log = logging.getLogger(__name__)


def read_for(image: Source, group: str | None, engine: Engine, calibration: Calibration | None) -> ReadImage:
    """Read an image for an engine, and check the group that a caller names.

    Raises:
        ImageError: The image cannot be read.
        CalibrationError: The calibration has groups, but not this one.
    """
    if calibration is not None:
        calibration.require_group(group)
    return read_image(image, engine.size, rules_of(engine))


def try_read_for(
    image: Source, group: str | None, engine: Engine, calibration: Calibration | None
) -> ReadImage | ClipAdaError:
    """Read an image as ``read_for`` does; return the error if it cannot be read or the group is unknown."""
    try:
        return read_for(image, group, engine, calibration)
    except (ImageError, CalibrationError) as error:
        return error


def finite(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the raw maps; raise ``RunError`` unless they are finite."""
    if not np.isfinite(raw).all():
        raise RunError(
            "the run gives an anomaly map that is not finite",
            expected="values 0..1",
            remedy="train again, with a lower training.learning_rate",
        )
    return raw


def scored_maps(
    engine: Engine, found: LocalizedImage, scoring: ScoringConfig, read: ReadImage, group: str | None
) -> tuple[Map, Map, Mask | None]:
    """Return an image's final map, the same in the image's own geometry, and its region of interest there, if any."""
    seen = seen_inside(engine, found, group)
    smooth = final_map(finite(found.maps), scoring, found.view, seen(found.size))
    size = read.image.shape[0], read.image.shape[1]
    inside, restored = seen(size), restore_map(smooth, size)
    if inside is not None:
        np.multiply(restored, inside, out=restored)  # in place: that of a large image is large
    return smooth, restored, inside


def input_reason(check: InputCheck, read: ReadImage, found: LocalizedImage, group: str | None) -> str | None:
    """Return the reason why an image is not inspectable, or ``None``.

    It is compared with the product that its group or its path names, if the run knows it, else with every product.
    """
    named = group if group in check.products or read.path is None else group_of(read.path, PRODUCT)
    seen = read.small if found.seen is None else found.seen
    return check.reason(image_statistics(seen), found.descriptor, named)


def decided(verdict: Verdict, calibration: Calibration, group: str | None) -> Verdict:
    """Add p-value, threshold and decision of a calibration to a verdict.

    An image that is not inspectable gets neither p-value nor decision: its score says nothing on a part.
    """
    limits, inspectable = calibration.limits(group), verdict.inspectable is not False
    return replace(
        verdict,
        calibration=calibration.id,
        p_value=calibration.p_value(verdict.score, group) if inspectable else None,
        score_threshold=limits.score,
        defective=verdict.score > limits.score if inspectable else None,
        group=calibration.threshold_group(group),
    )


def matching(calibration: Calibration | None, model: ModelIdentity | None) -> Calibration | None:
    """Return the calibration if it was made with this model; that of another engine is used with a warning."""
    if calibration is None or model is None:
        return calibration
    if calibration.model_sha256 != model.sha256:
        raise CalibrationError(
            f"the calibration is not of run {model.run}",
            expected=f"model sha256 {model.sha256[:12]}",
            got=f"model sha256 {calibration.model_sha256[:12]}",
            remedy="run `clipada calibrate` again",
        )
    if (caveat := calibration.caveat(model.engine)) is not None:
        log.warning("%s", caveat)
    return calibration
