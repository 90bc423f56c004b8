"""Measured shortcuts of an export: the patches and the images that need no refinement, and the error this causes.

No useful error bound can be derived for a transformer, so the error is measured: thresholds are chosen on one half of
the images and checked on the other. The other half had no part in the choice, so it is an unbiased sample of the errors
on similar images, as ``exceeding_share`` requires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.config import Config, ExportConfig, ScoringConfig
from clipada.data import Dataset
from clipada.engines.export.images import Images, read_images, with_anomalies
from clipada.engines.refinement import GraphEngine
from clipada.scoring import final_map, image_score
from clipada.types import Engine

INACTIVE_LEVELS = (0.32, 0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
"""Candidates of the attention below which a patch is inactive, the one that saves most first."""

END_LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02)
"""Candidates of the coarse map's peak below which an image is not refined, the one that saves most first."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Attention threshold below which a patch is not refined, and its measured effect.

    Attributes:
        bound: Largest difference allowed, of a normal image's anomaly map and of any image's score.
        cold_below: Patches whose attention is below this value are not refined; 0 if no candidate keeps to the bound.
        chosen_on: Number of images that the value was chosen on, half of them with a synthetic anomaly.
        checked_on: Number of other images that it was then checked on.
        refined_normal: Share of refined patches in the normal images of these.
        refined_anomalous: The same share in those with an anomaly.
        map_error: Largest difference of a pixel of a normal image's anomaly map, with the shortcut and without.
        anomalous_map_error: The same for images with an anomaly. It is not bounded: a large active region changes the
            context of the inactive patches around it.
        score_error: Largest difference of an image score, normal or anomalous.
        exceeded_by_at_most: Largest share, at 95 % confidence, of similar images that change by more than these errors.
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
        """Describe the threshold and its effect in one line."""
        if not self.cold_below:
            return f"shortcut: off, no threshold changes maps and scores by no more than {self.bound:g}"
        return (
            f"shortcut: refines patches with attention of {self.cold_below:g} or more, "
            f"{100 * self.refined_normal:.0f} % in normal images and {100 * self.refined_anomalous:.0f} % in images "
            f"with synthetic anomalies; on {self.checked_on} images maps change by at most {self.map_error:.1e} "
            f"(normal) and {self.anomalous_map_error:.1e} (anomalous), scores by {self.score_error:.1e}; at most "
            f"{100 * self.exceeded_by_at_most:.0f} % of similar images change by more, at 95 % confidence"
        )


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Threshold on the coarse map's peak below which an image is not refined, and its measured effect.

    Attributes:
        bound: Largest difference of an image score allowed.
        end_below: Images whose coarse map is below this value everywhere are not refined; 0 if no candidate keeps to
            the bound.
        chosen_on: Number of images that the value was chosen on, half of them with a synthetic anomaly.
        checked_on: Number of other images that it was then checked on.
        ended_normal: Share of the normal images of these that were not refined.
        ended_anomalous: The same share of those with an anomaly.
        score_error: Largest difference of an image score, normal or anomalous. A verdict whose score is further than
            this from its threshold changes only if the image exceeds this error.
        exceeded_by_at_most: Largest share, at 95 % confidence, of similar images that exceed ``score_error``.
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
        """Describe the threshold and its effect in one line."""
        if not self.end_below:
            return f"cascade: off, no threshold changes scores by no more than {self.bound:g}"
        return (
            f"cascade: does not refine images whose coarse map is below {self.end_below:g}, "
            f"{100 * self.ended_normal:.0f} % of normal images and {100 * self.ended_anomalous:.0f} % of images with "
            f"synthetic anomalies; on {self.checked_on} images scores change by at most {self.score_error:.1e}; at "
            f"most {100 * self.exceeded_by_at_most:.0f} % of similar images change by more, at 95 % confidence"
        )


def exceeding_share(checked: int) -> float:
    """Bound the share of images that exceed an error which none of ``checked`` independent images exceeded.

    If a share ``q`` of all images exceeded it, none of ``n`` would do so with probability ``(1 - q)^n``. At 95 %
    confidence this is at least 0.05, so ``q <= 1 - 0.05^(1/n)``, about ``3 / n`` (Clopper and Pearson, 1934).
    """
    return 1 - math.pow(0.05, 1 / checked)


def find_shortcuts(
    exported: Engine, dataset: Dataset, settings: Config, config: ExportConfig
) -> tuple[Shortcut, Cascade] | None:
    """Measure the shortcuts of an export on normal images of a data set, and on the same with synthetic anomalies.

    Returns:
        ``None`` without refinement passes, or with fewer normal images than ``config.shortcut_least``.
    """
    samples = dataset.train or [sample for sample in dataset.test if not sample.anomalous]
    if not isinstance(exported, GraphEngine) or exported.passes == 1 or len(samples) < config.shortcut_least:
        return None
    normal = read_images(exported, samples, config.shortcut_images)
    if len(normal) < config.shortcut_least:
        return None
    return measure_shortcuts(
        exported, normal, with_anomalies(normal, settings), settings.scoring, config.shortcut_error
    )


def measure_shortcuts(
    exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig, bound: float
) -> tuple[Shortcut, Cascade]:
    """Choose both thresholds on every second image, and check them on the others.

    The patches' threshold is the highest of ``INACTIVE_LEVELS`` with which no normal image's anomaly map and no image
    score changes by more than half the ``bound``; the images' threshold is the highest of ``END_LEVELS`` with which no
    image score does. Half the bound leaves a margin for the images of the check. A threshold is dropped (0) if one of
    these changes by more than the whole bound.

    Args:
        exported: The export, without a shortcut.
        normal: Two or more normal images ``(N, S, S, 3)`` uint8.
        anomalous: Images with anomalies, of the same shape.
        scoring: Smoothing and scoring of maps.
        bound: Largest difference allowed.
    """
    choosing, checking = (_Refinement(exported, normal[at::2], anomalous[at::2], scoring) for at in (0, 1))
    return _shortcut(choosing, checking, bound), _cascade(choosing, checking, bound)


def _shortcut(choosing: _Refinement, checking: _Refinement, bound: float) -> Shortcut:
    """Choose and check the threshold on patches."""
    inactive_below = next((level for level in INACTIVE_LEVELS if choosing.changes(level).bounded <= bound / 2), 0.0)
    changes = checking.changes(inactive_below)
    return Shortcut(
        bound=bound,
        cold_below=inactive_below if changes.bounded <= bound else 0.0,
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
    """Choose and check the threshold on images."""
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
    """Largest differences caused by a shortcut, and the share of refined patches in each image."""

    normal_maps: float
    anomalous_maps: float
    scores: float
    refined: NDArray[np.float64]

    @property
    def bounded(self) -> float:
        """Largest of the differences that the bound applies to."""
        return max(self.normal_maps, self.scores)


class _Refinement:
    """Full refinement of some images by an export, as the reference that shortcuts are compared with."""

    def __init__(self, exported: GraphEngine, normal: Images, anomalous: Images, scoring: ScoringConfig) -> None:
        self.exported, self.scoring = exported, scoring
        self.images = np.concatenate([normal, anomalous])
        self.normal = np.arange(len(self.images)) < len(normal)
        self.raw = np.stack([exported.localize(image[np.newaxis]).maps[:, 0] for image in self.images])
        self.maps = [final_map(raw, scoring) for raw in self.raw]
        never = exported.with_shortcut(0.0, end_below=np.inf)
        unrefined = [final_map(never.localize(image[np.newaxis]).maps[:, 0], scoring) for image in self.images]
        self.unrefined_changes = np.array(
            [abs(image_score(a, scoring) - image_score(b, scoring)) for a, b in zip(self.maps, unrefined, strict=True)]
        )

    @property
    def fewest(self) -> int:
        """Number of independent images: of the normal ones or of those with an anomaly, whichever is smaller.

        The two kinds are not added up, because each anomalous image is one of the normal ones with an anomaly.
        """
        return int(min(self.normal.sum(), (~self.normal).sum()))

    def changes(self, level: float) -> _Changes:
        """Measure the changes of maps and scores if patches with less attention than this are not refined."""
        short = self.exported.with_shortcut(level)
        maps, scores, shares = np.zeros((3, len(self.images)))
        for index, (image, full) in enumerate(zip(self.images, self.maps, strict=True)):
            found, refined = short.localize_and_count(image[np.newaxis])
            less, shares[index] = final_map(found.maps[:, 0], self.scoring), refined.mean()
            maps[index] = np.abs(full - less).max()
            scores[index] = abs(image_score(full, self.scoring) - image_score(less, self.scoring))
        return _Changes(
            normal_maps=float(maps[self.normal].max()),
            anomalous_maps=float(maps[~self.normal].max()),
            scores=float(scores.max()),
            refined=shares,
        )

    def ended(self, end_below: float) -> tuple[NDArray[np.bool_], float]:
        """Find the images that a cascade with this threshold does not refine, and the largest change of a score."""
        ended = self.raw[:, 0].max(axis=(1, 2)) < end_below
        return ended, float((ended * self.unrefined_changes).max())
