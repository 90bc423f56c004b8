"""Objections to a new calibration: reasons to keep the present one, each in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clipada.calibration.change import CalibrationChange
from clipada.calibration.conformal import Scores
from clipada.calibration.record import Calibration

SHOWN = 5
"""Number of names that an objection lists."""


def lost_groups(change: CalibrationChange) -> list[str]:
    """Object to the loss of groups, or of the thresholds of their own that groups have."""
    lost = change.lost_groups
    if not lost:
        return []
    if change.new.settings.per is None:
        return [f"groups {shown(lost)} of the present calibration are lost, as there is no --per"]
    needed, sizes = change.new.needed_images, change.new.group_sizes
    counts = [f"{name} ({sizes.get(name, 0)} of the {needed} images needed)" for name in lost]
    return [f"groups lose the thresholds of their own: {shown(counts)}"]


def unlike_training(unlike: Mapping[Path, str], images: int, share: float) -> list[str]:
    """Object if more than a ``share``, 0..1, of the images is unlike all training images.

    Args:
        unlike: The images that the input check finds not inspectable, and the reason of each.
        images: Number of all images.
        share: The largest share.
    """
    if len(unlike) <= share * images:
        return []
    examples = [f"{path} ({reason})" for path, reason in list(unlike.items())[:3]]
    return [f"{len(unlike)} of {images} images are unlike the training images, e.g. {', '.join(examples)}"]


def alarms_before(change: CalibrationChange, share: float) -> list[str]:
    """Object if the present thresholds call more than a ``share``, 0..1, of the new good parts defective.

    They guarantee far fewer, so either the new images show something else than the present ones, or parts have changed.
    """
    alarms, images = change.old_alarms, len(change.new.images)
    if alarms <= share * images:
        return []
    return [f"the present thresholds call {alarms} of the {images} images of good parts defective"]


def unreached(calibration: Calibration, defects: Mapping[str | None, Scores]) -> list[str]:
    """Object to score thresholds that no synthetic defect exceeds, or defects no more often than good parts do.

    ``k / (n + 1)`` of good parts exceed the ``k``-th largest of ``n`` scores on average.

    Args:
        calibration: The new calibration.
        defects: Scores of synthetic defects, ``(N,)``, for each group with thresholds of its own, and for all others
            under ``None``.
    """
    everything = np.concatenate([np.empty(0), *defects.values()])
    found = []
    for name in (None, *calibration.groups):
        limits = calibration.limits(name)
        scores = everything if name is None else defects.get(name, np.empty(0))
        above = int(np.count_nonzero(scores > limits.score))
        if scores.size and above / scores.size <= limits.rank / (limits.images + 1):
            count = f"{above} of {scores.size} synthetic defects reach" if above else "no synthetic defect reaches"
            found.append(f"{count} the threshold {limits.score:.6g}{_of(name)}")
    return found


def out_of_reach(calibration: Calibration, ceiling: float) -> list[str]:
    """Object to score thresholds above ``ceiling``, 0..1: hardly any score is higher."""
    limits = {name: calibration.limits(name).score for name in (None, *calibration.groups)}
    return [
        f"hardly any defect can reach the threshold {score:.6g}{_of(name)}, as scores end at 1"
        for name, score in limits.items()
        if score > ceiling
    ]


def shown(names: tuple[str, ...] | list[str]) -> str:
    """List the first names and count the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _of(name: str | None) -> str:
    return "" if name is None else f" of group {name}"
