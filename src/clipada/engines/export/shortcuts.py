"""What an export may leave out: which patches, and which images, need no refinement, and what that changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.config import ScoringConfig
from clipada.engines.refinement import GraphEngine
from clipada.scoring import final_map, image_score

Images = NDArray[np.uint8]

COLD_LEVELS = (0.32, 0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
"""Attention that may count as cold, the boldest first."""

END_LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02)
"""Coarse maps' peaks below which an image may end, the boldest first."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Below which attention a patch needs no refinement, and what that was measured to change.

    Attributes:
        bound: The largest difference that was allowed: of a normal image's anomaly map, and of any image's score.
        cold_below: Patches whose attention stays below this are not refined; 0 if no value is known to keep to the
            bound.
        chosen_on: Number of images the value was chosen on, half of them with a synthetic anomaly.
        checked_on: Number of other images it was then checked on.
        refined_normal: Share of the patches that were refined in the normal ones of those.
        refined_anomalous: The same of those with an anomaly.
        map_error: Largest difference of a pixel of a normal image's anomaly map, with the shortcut and without.
        anomalous_map_error: The same of images with an anomaly. It is not bounded: a large hot region changes what cold
            patches around it would have seen.
        score_error: Largest difference of an image score, of either.
        exceeded_by_at_most: Of images like those it was checked on, the largest share, at 95 % confidence, that may
            change by more than these errors.
    """

    bound: float
    cold_below: float
    chosen_on: int
    checked_on: int
    refined_normal: float
    refined_anomalous: float
    map_error: float
    anomalous_map_error: float
    score_error: float
    exceeded_by_at_most: float

    def describe(self) -> str:
        """The same in words."""
        if not self.cold_below:
            return f"shortcut: off, none was found that changes maps and scores by no more than {self.bound:g}"
        return (
            f"shortcut: where attention is {self.cold_below:g} or more, {100 * self.refined_normal:.0f} % of the "
            f"patches of normal images and {100 * self.refined_anomalous:.0f} % with synthetic anomalies; of "
            f"{self.checked_on} images maps change by {self.map_error:.1e} (normal) and "
            f"{self.anomalous_map_error:.1e} (anomalous) at most, scores by {self.score_error:.1e}; of others like "
            f"them at most {100 * self.exceeded_by_at_most:.0f} % may change by more, at 95 % confidence"
        )


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Below which peak of its coarse map an image needs no refinement, and what that was measured to change.

    Attributes:
        bound: The largest difference of an image score that was allowed.
        end_below: Images whose coarse map stays below this are not refined; 0 if no value is known to keep to the
            bound.
        chosen_on: Number of images the value was chosen on, half of them with a synthetic anomaly.
        checked_on: Number of other images it was then checked on.
        ended_normal: Share of the normal ones of those that were not refined.
        ended_anomalous: The same of those with an anomaly.
        score_error: Largest difference of an image score, of either. A verdict whose score lies further from its
            threshold changes only where an image exceeds this.
        exceeded_by_at_most: Of images like those it was checked on, the largest share, at 95 % confidence, that may do
            so.
    """

    bound: float
    end_below: float
    chosen_on: int
    checked_on: int
    ended_normal: float
    ended_anomalous: float
    score_error: float
    exceeded_by_at_most: float

    def describe(self) -> str:
        """The same in words."""
        if not self.end_below:
            return f"cascade: off, none was found that changes scores by no more than {self.bound:g}"
        return (
            f"cascade: where a coarse map stays below {self.end_below:g}, {100 * self.ended_normal:.0f} % of normal "
            f"images and {100 * self.ended_anomalous:.0f} % with synthetic anomalies; of {self.checked_on} images "
            f"scores change by {self.score_error:.1e} at most; of others like them at most "
            f"{100 * self.exceeded_by_at_most:.0f} % may change by more, at 95 % confidence"
        )


def exceeding_share(checked: int) -> float:
    """The largest share of images, at 95 % confidence, that exceed what none of ``checked`` independent ones did.

    ``1 - 0.05^(1/n)`` (Clopper and Pearson, 1934), about ``3 / n``.
    """
    return 1 - math.pow(0.05, 1 / checked)


def measure_shortcuts(
    exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig, bound: float
) -> tuple[Shortcut, Cascade]:
    """Find what needs no refinement on every other image, and check it on the rest.

    The patches' value is the highest of ``COLD_LEVELS`` with which no normal image's anomaly map and no image score
    changes by more than half the ``bound``; the images' value the highest of ``END_LEVELS`` with which no image score
    does. One is dropped (0) if an image that it was not chosen on then changes by more than the bound.

    Args:
        exported: The export, which refines all.
        normal: Two or more normal images ``(N, S, S, 3)`` uint8.
        anomalous: Images with anomalies, alike.
        scoring: How maps are smoothed and scored.
        bound: Largest difference allowed.

    Returns:
        What was found, of an export with refinement passes.
    """
    choosing, checking = (_Refinement(exported, normal[at::2], anomalous[at::2], scoring) for at in (0, 1))
    return _shortcut(choosing, checking, bound), _cascade(choosing, checking, bound)


def _shortcut(choosing: _Refinement, checking: _Refinement, bound: float) -> Shortcut:
    cold_below = next((level for level in COLD_LEVELS if choosing.changes(level).bounded <= bound / 2), 0.0)
    changes = checking.changes(cold_below)
    return Shortcut(
        bound=bound,
        cold_below=cold_below if changes.bounded <= bound else 0.0,
        chosen_on=len(choosing.images),
        checked_on=len(checking.images),
        refined_normal=float(changes.refined[checking.normal].mean()),
        refined_anomalous=float(changes.refined[~checking.normal].mean()),
        map_error=changes.normal_maps,
        anomalous_map_error=changes.anomalous_maps,
        score_error=changes.scores,
        exceeded_by_at_most=exceeding_share(checking.fewest),
    )


def _cascade(choosing: _Refinement, checking: _Refinement, bound: float) -> Cascade:
    end_below = next((level for level in END_LEVELS if choosing.ended(level)[1] <= bound / 2), 0.0)
    ended, error = checking.ended(end_below)
    return Cascade(
        bound=bound,
        end_below=end_below if error <= bound else 0.0,
        chosen_on=len(choosing.images),
        checked_on=len(checking.images),
        ended_normal=float(ended[checking.normal].mean()),
        ended_anomalous=float(ended[~checking.normal].mean()),
        score_error=error,
        exceeded_by_at_most=exceeding_share(checking.fewest),
    )


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """The largest differences that less refinement brings, and of each image the share of patches refined."""

    normal_maps: float
    anomalous_maps: float
    scores: float
    refined: NDArray[np.float64]

    @property
    def bounded(self) -> float:
        """The largest of those that a shortcut must keep to."""
        return max(self.normal_maps, self.scores)


class _Refinement:
    """An export's full refinement of some images, to compare less of it with."""

    def __init__(self, exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig) -> None:
        self.exported, self.scoring = exported, scoring
        self.images = np.concatenate([normal, anomalous])
        self.normal = np.arange(len(self.images)) < len(normal)
        self.raw = np.stack([exported.localise_passes(image[np.newaxis])[:, 0] for image in self.images])
        self.maps = [final_map(raw, scoring) for raw in self.raw]
        never = exported.with_shortcut(0.0, end_below=np.inf)
        unrefined = [final_map(never.localise_passes(image[np.newaxis])[:, 0], scoring) for image in self.images]
        self.unrefined_changes = np.array(
            [abs(image_score(a, scoring) - image_score(b, scoring)) for a, b in zip(self.maps, unrefined, strict=True)]
        )

    @property
    def fewest(self) -> int:
        """The number of normal images, or of those with an anomaly if they are fewer."""
        return int(min(self.normal.sum(), (~self.normal).sum()))

    def changes(self, cold_below: float) -> _Changes:
        """How far maps and scores change when colder patches are not refined."""
        short = self.exported.with_shortcut(cold_below)
        maps, scores, shares = np.zeros((3, len(self.images)))
        for index, (image, full) in enumerate(zip(self.images, self.maps, strict=True)):
            raw, refined = short.localise_and_count(image[np.newaxis])
            less, shares[index] = final_map(raw[:, 0], self.scoring), refined.mean()
            maps[index] = np.abs(full - less).max()
            scores[index] = abs(image_score(full, self.scoring) - image_score(less, self.scoring))
        return _Changes(
            normal_maps=float(maps[self.normal].max()),
            anomalous_maps=float(maps[~self.normal].max()),
            scores=float(scores.max()),
            refined=shares,
        )

    def ended(self, end_below: float) -> tuple[NDArray[np.bool_], float]:
        """Which images are not refined if those of a cooler coarse map are not, and the largest change of a score."""
        ended = self.raw[:, 0].max(axis=(1, 2)) < end_below
        return ended, float((ended * self.unrefined_changes).max())
