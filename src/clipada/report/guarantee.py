"""The guarantee of a calibration in words."""

from __future__ import annotations

from clipada.calibration import Calibration, Limits, needed_images


def calibration_summary(calibration: Calibration) -> list[str]:
    """State thresholds, numbers of images and guarantee: a line each for all images and every group."""
    pooled = _line("all images" if calibration.group_sizes else "thresholds", calibration.pooled, calibration)
    own = [_line(name, limits, calibration) for name, limits in calibration.groups.items()]
    needed = needed_images(calibration.settings)
    lacking = [
        f"{name}: {count} of the {needed} images needed; the thresholds of all images apply"
        for name, count in calibration.group_sizes.items()
        if name not in calibration.groups
    ]
    count = len(calibration.rejected)
    rejected = [f"{count} rejected alarms may have raised thresholds; the guarantee does not use them"] if count else []
    return [pooled, *own, *lacking, *rejected, _guarantee(calibration)]


def _line(name: str, limits: Limits, calibration: Calibration) -> str:
    if calibration.settings.mode == "marginal":
        rate = f"{100 * limits.rank / (limits.images + 1):.3g} % on average"
    else:
        confidence = 100 * calibration.settings.confidence
        rate = f"{100 * calibration.rate_bound(limits):.3g} % with {confidence:g} % confidence"
    return (
        f"{name}: score above {limits.score:.6g} is defective, map above {limits.pixel:.6g} is a region; "
        f"from {limits.images} images, rate at most {rate}"
    )


def _guarantee(calibration: Calibration) -> str:
    settings = calibration.settings
    asked = f"{100 * settings.false_alarm_rate:g} %"
    if settings.mode == "marginal":
        return f"of further good parts, {asked} or less are called defective, on average over calibrations"
    return (
        f"of further good parts, {asked} or less are called defective, with {100 * settings.confidence:g} % confidence"
    )
