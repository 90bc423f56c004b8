"""Calibration record: scores of good parts, the guarantee and the resulting thresholds, as in ``calibration.json``."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from clipada.calibration.conformal import (
    Scores,
    cross_fit_bound,
    needed_images,
    p_values,
    rate_bound,
    threshold,
    threshold_rank,
    with_attainable_rate,
)
from clipada.config import CalibrationConfig
from clipada.config.schema import build
from clipada.errors import CalibrationError, did_you_mean

FORMAT = 1

Basis = Literal["held out", "cross-fitted"]
"""Kind of a calibration's scores: of images that were not trained on, or of training images without their folds."""

LEAST_CROSS_FITTED = 2
"""Fewest images of a group with thresholds of its own that are cross-fitted."""

AGAIN = "run `clipada calibrate` again"
"""Remedy for a calibration that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class CalibrationImage:
    """Image of a good part that the model was not trained on, or that it scored without its fold.

    Attributes:
        sha256: Hash of the file's content.
        score: Image score.
        peak: Highest value of the anomaly map at the image's own size.
        group: The group it belongs to, if any.
    """

    sha256: str
    score: float
    peak: float
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Thresholds of one group, or of all images pooled.

    Attributes:
        score: A part is defective if its image score is greater.
        pixel: A pixel belongs to a region if its map value is greater. The same guarantee holds: at most the requested
            share of good parts shows any region.
        images: ``n``, the number of calibration images they are computed from.
        rank: ``k``: both thresholds are the ``k``-th largest value, or higher if rejected images require it.
    """

    score: float
    pixel: float
    images: int
    rank: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Scores of good parts and the thresholds that they guarantee.

    Attributes:
        settings: The guarantee: rate, mode, confidence.
        images: The calibration images, a random sample of the good parts to come. P-values, drift and the guarantee use
            them alone.
        rejected: Images of good parts that were called defective. They were selected by their scores and are thus no
            random sample: they may raise thresholds but never lower one.
        model_sha256: Hash of the model that scored them.
        folds: Number of folds of the training images that were scored, each without its own; 0 for images that were
            held out, which guarantee more.
        engine: The engine that scored them, e.g. ``"torch fp32"``.
        created: When, in UTC, ISO 8601.
        command: The command that made it.

    Raises:
        CalibrationError: There are too few images for the guarantee, or it is none that cross-fitted scores give, an
            image is there twice, or a score is not finite.
    """

    settings: CalibrationConfig
    images: tuple[CalibrationImage, ...] = field(repr=False)
    rejected: tuple[CalibrationImage, ...] = field(default=(), repr=False)
    folds: int = 0
    model_sha256: str
    engine: str
    created: str
    command: str

    def __post_init__(self) -> None:
        if self.folds and self.settings.mode != "marginal":
            raise no_confidence(self.settings)
        require_images(len(self.images), self.settings)
        known = (*self.images, *self.rejected)
        if len({image.sha256 for image in known}) < len(known):
            raise CalibrationError("an image is in the calibration twice", remedy=AGAIN)
        if not all(math.isfinite(image.score) and math.isfinite(image.peak) for image in known):
            raise CalibrationError("a calibration score is not finite", remedy=AGAIN)

    @cached_property
    def pooled(self) -> Limits:
        """Thresholds over all images."""
        return self._limits(None)

    @cached_property
    def groups(self) -> dict[str, Limits]:
        """Thresholds of each group that has enough images, by name."""
        needed = self.needed_images
        return {name: self._limits(name) for name, count in self.group_sizes.items() if count >= needed}

    @property
    def needed_images(self) -> int:
        """Fewest images of a group with thresholds of its own: as many as the guarantee needs.

        Cross-fitted scores guarantee each group what its own images allow, from two on.
        """
        return LEAST_CROSS_FITTED if self.folds else needed_images(self.settings)

    @cached_property
    def group_sizes(self) -> dict[str, int]:
        """Number of images of each group, by name."""
        return dict(sorted(Counter(image.group for image in self.images if image.group is not None).items()))

    @property
    def basis(self) -> Basis:
        """Kind of the images' scores."""
        return "cross-fitted" if self.folds else "held out"

    @cached_property
    def id(self) -> str:
        """First 12 digits of the hash of the content."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()[:12]

    def threshold_group(self, group: str | None) -> str | None:
        """Return the group if it has its own thresholds, else ``None``: the pooled ones are applied."""
        return group if group is not None and group in self.groups else None

    def require_group(self, group: str | None) -> None:
        """Check a group that a caller names: a misspelled one would be judged by the thresholds of all images.

        Raises:
            CalibrationError: The calibration has groups, but not this one.
        """
        if group is None or not self.group_sizes or group in self.group_sizes:
            return
        raise CalibrationError(
            "the calibration has no such group",
            expected=", ".join(self.group_sizes)[:1000],
            got=group[:1000],
            remedy=did_you_mean(group, self.group_sizes) or "name one of these, or none",
        )

    def limits(self, group: str | None) -> Limits:
        """Return the thresholds that are applied to a group."""
        own = self.threshold_group(group)
        return self.pooled if own is None else self.groups[own]

    def p_value(self, score: float, group: str | None) -> float:
        """Return the conformal p-value of a score against the images whose thresholds are applied to the group."""
        return float(p_values(self.scores(group), score))

    def theory_bound(self, limits: Limits) -> float:
        """Return the bound that theory gives for cross-fitted thresholds' false-alarm rate, on average, 0..1."""
        return cross_fit_bound(limits.images, limits.rank, max(2, min(self.folds, limits.images)))

    def rate_bound(self, limits: Limits) -> float:
        """Return the upper bound of the thresholds' false-alarm rate at the settings' confidence."""
        return rate_bound(limits.images, limits.rank, self.settings.confidence)

    def caveat(self, engine: str) -> str | None:
        """Return the reason why an engine's verdicts have no guarantee, if so: another engine's scores differ."""
        if engine == self.engine:
            return None
        return (
            f"calibrated with engine {self.engine}, inspecting with {engine}: the false-alarm rate is not guaranteed; "
            f"calibrate with {engine}"
        )

    def scores(self, group: str | None) -> Scores:
        """Return the scores, in ascending order, of the images whose thresholds are applied to the group."""
        return self._scores[self.threshold_group(group)]

    def with_guarantee(self, settings: CalibrationConfig) -> Self:
        """Return the same images with another guarantee; their groups stay.

        Cross-fitted images give the lowest rate that they allow instead of an error, and so does each group.
        """
        settings = replace(settings, per=self.settings.per)
        settings = with_attainable_rate(settings, len(self.images)) if self.folds else settings
        return replace(self, settings=settings)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``calibration.json``. The thresholds follow from the rest: they are for readers."""
        thresholds = {"pooled": asdict(self.pooled)}
        thresholds |= {"groups": {name: asdict(limits) for name, limits in self.groups.items()}}
        return {"format": FORMAT, "id": self.id, **self._plain(), **self._stated(), "thresholds": thresholds}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a calibration from ``to_dict``'s result, strictly.

        Raises:
            CalibrationError: The id or the thresholds are not those that follow from the scores.
            ConfigError: A value is missing, unknown or of the wrong type.
        """
        derived = ("format", "id", "basis", "guarantee", "thresholds")
        plain = {name: value for name, value in values.items() if name not in derived}
        calibration: Self = build(cls, plain, "", "field")
        if calibration.to_dict() != values:
            raise CalibrationError(
                "the thresholds are not those that follow from the scores",
                expected=f"pooled thresholds {calibration.pooled.score:.6g} and {calibration.pooled.pixel:.6g}",
                remedy="set them with `clipada calibrate RUN --false-alarm-rate RATE`, not by hand",
            )
        return calibration

    def _plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        plain = asdict(self) | {"images": [asdict(image) for image in self.images]}
        plain["rejected"] = [asdict(image) for image in self.rejected]
        return {name: value for name, value in plain.items() if value or name not in ("rejected", "folds")}

    def _stated(self) -> dict[str, Any]:
        """State the guarantee of cross-fitted thresholds, for readers; of held-out images nothing, as ever."""
        if not self.folds:
            return {}
        expected = self.pooled.rank / (self.pooled.images + 1)
        text = (
            f"{self.pooled.rank} in {self.pooled.images + 1} good parts are expected, on average over trainings, as "
            "observed; theory bounds it for a memory alone; no confidence"
        )
        rates = {"expected": round(expected, 4), "theory": round(self.theory_bound(self.pooled), 4)}
        return {"basis": self.basis, "guarantee": {**rates, "words": text}}

    @cached_property
    def _scores(self) -> dict[str | None, Scores]:
        return {name: _sorted(self.images, "score", name) for name in (None, *self.groups)}

    def _limits(self, group: str | None) -> Limits:
        """Return the thresholds that the images guarantee, or higher ones if rejected images require them."""
        limits = [self._ranked(images, group) for images in (self.images, (*self.images, *self.rejected))]
        score, pixel = max(one.score for one in limits), max(one.pixel for one in limits)
        return replace(limits[0], score=score, pixel=pixel)

    def _ranked(self, images: Sequence[CalibrationImage], group: str | None) -> Limits:
        scores, peaks = _sorted(images, "score", group), _sorted(images, "peak", group)
        settings = with_attainable_rate(self.settings, scores.size) if self.folds else self.settings
        rank = threshold_rank(scores.size, settings)
        return Limits(score=threshold(scores, rank), pixel=threshold(peaks, rank), images=scores.size, rank=rank)


def no_confidence(settings: CalibrationConfig) -> CalibrationError:
    """Make the error for a guarantee that cross-fitted scores cannot give."""
    return CalibrationError(
        "cross-fitted thresholds hold on average over trainings, with no confidence",
        expected="marginal mode, or images that were held out",
        got=f"{settings.mode} mode",
        remedy="leave --mode out, or name IMAGES of good parts that were not trained on",
    )


def _sorted(images: Sequence[CalibrationImage], name: str, group: str | None) -> Scores:
    """Return the scores or peaks of a group's images, or of all, in ascending order."""
    chosen = (image for image in images if group is None or image.group == group)
    return np.sort(np.array([getattr(image, name) for image in chosen], np.float64))


def require_images(count: int, settings: CalibrationConfig, left_out: str = "") -> None:
    """Raise a ``CalibrationError`` that states the needed number unless ``count`` images allow the guarantee.

    ``left_out`` describes images that were not counted.
    """
    needed = needed_images(settings)
    if count < needed:
        kept = "on average" if settings.mode == "marginal" else f"with {100 * settings.confidence:g} % confidence"
        raise CalibrationError(
            f"too few good images to guarantee a false-alarm rate of {100 * settings.false_alarm_rate:g} % {kept}",
            expected=f"at least {needed} that the model was not trained on",
            got=f"{count}{left_out}",
            remedy="add images, or ask for a higher --false-alarm-rate"
            + (" or a lower --confidence" if settings.mode == "conditional" else ""),
        )
