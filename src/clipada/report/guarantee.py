"""The guarantee of a calibration in words, and the change from one calibration to another."""

from __future__ import annotations

from clipada.calibration import Calibration, CalibrationChange, Limits


def calibration_summary(calibration: Calibration) -> list[str]:
    """State thresholds, numbers of images and guarantee: a line each for all images and every group."""
    pooled = _line("all images" if calibration.group_sizes else "thresholds", calibration.pooled, calibration)
    own = [_line(name, limits, calibration) for name, limits in calibration.groups.items()]
    needed = calibration.needed_images
    lacking = [
        f"{name}: {count} of the {needed} images needed; the thresholds of all images apply"
        for name, count in calibration.group_sizes.items()
        if name not in calibration.groups
    ]
    count = len(calibration.rejected)
    rejected = [f"{count} rejected alarms may have raised thresholds; the guarantee does not use them"] if count else []
    return [pooled, *own, *lacking, *rejected, guarantee(calibration)]


def calibration_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Return the thresholds as cells: a row of ``CALIBRATION_COLUMNS`` for all images, and one for each group."""
    needed = calibration.needed_images
    rows = [_row("all images", calibration.pooled, calibration)]
    for name, count in calibration.group_sizes.items():
        own = calibration.groups.get(name)
        lacking = (name, "as all images", "as all images", str(count), f"{count} of the {needed} images needed")
        rows.append(lacking if own is None else _row(name, own, calibration))
    return rows


CALIBRATION_COLUMNS = (
    "thresholds of",
    "defective above",
    "region above",
    "from images",
    "false alarms",
)
"""Columns of ``calibration_rows``."""


def _row(name: str, limits: Limits, calibration: Calibration) -> tuple[str, ...]:
    return (name, f"{limits.score:.4g}", f"{limits.pixel:.4g}", str(limits.images), _rate(limits, calibration))


def _line(name: str, limits: Limits, calibration: Calibration) -> str:
    return (
        f"{name}: score above {limits.score:.6g} is defective, map above {limits.pixel:.6g} is a region; "
        f"from {limits.images} images, false alarms: {_rate(limits, calibration)}"
    )


def _rate(limits: Limits, calibration: Calibration) -> str:
    """State the false-alarm rate that thresholds keep: a bound, but for cross-fitted ones."""
    if calibration.settings.mode == "marginal":
        bound = "expected" if calibration.folds else "at most"
        return f"{bound} {100 * limits.rank / (limits.images + 1):.3g} % on average"
    confidence = 100 * calibration.settings.confidence
    return f"at most {100 * calibration.rate_bound(limits):.3g} % with {confidence:g} % confidence"


def guarantee(calibration: Calibration) -> str:
    """State the guarantee in words."""
    settings = calibration.settings
    asked = f"{100 * settings.false_alarm_rate:g} %"
    if calibration.folds:
        return _cross_fitted(calibration)
    if settings.mode == "marginal":
        return f"of further good parts, {asked} or less are called defective, on average over calibrations"
    return (
        f"of further good parts, {asked} or less are called defective, with {100 * settings.confidence:g} % confidence"
    )


def _cross_fitted(calibration: Calibration) -> str:
    """State the guarantee of thresholds from training images, and what is only observed."""
    limits = calibration.pooled
    bound, given = f"{100 * calibration.theory_bound(limits):.3g} %", len(calibration.images)
    return (
        f"set with {given} training images, each compared with the others alone (cross-fitted): expect about "
        f"{limits.rank} in {limits.images + 1} further good parts to be called defective, on average over trainings; "
        f"for a memory without a filter and independent images, theory proves at most {bound}; "
        f"{_grouped(calibration)}there is no confidence statement, for which good parts are needed that were not "
        "trained on"
    )


def _grouped(calibration: Calibration) -> str:
    """State what folds of several images mean for the guarantee; nothing if each image is a fold."""
    if calibration.folds >= len(calibration.images):
        return ""
    return (
        f"if the images of each of the {calibration.folds} folds show one part, they count as one, "
        f"and about 1 in {calibration.folds + 1} is to be expected; "
    )


def change_summary(change: CalibrationChange) -> list[str]:
    """State how many verdicts on the old calibration's images change, and on the new one's images by the old."""
    old, new = len(change.old.images), len(change.new.images)
    lines = [
        f"of the old calibration's {old} images, {100 * change.changed_share:.3g} % get another verdict: "
        f"{change.now_defective} become defective, {change.now_good} good",
        f"the old thresholds call {change.old_alarms} of the new calibration's {new} images of good parts defective",
    ]
    if change.old.engine != change.new.engine:
        lines.append(f"scores are of different engines: {change.old.engine}, now {change.new.engine}")
    return lines
