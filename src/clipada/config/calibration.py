"""Settings of a calibration's guarantee, of the checks before it is written, and of the test for drift."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from clipada.config.schema import require

CalibrationMode = Literal["conditional", "marginal"]


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Guarantee of a calibration. It is no part of a run: it changes without training or exporting again."""

    false_alarm_rate: float = 0.01
    """The share of good parts that may be called defective."""

    mode: CalibrationMode = "conditional"
    """``conditional``: the rate of this calibration is at most ``false_alarm_rate``, with ``confidence``. ``marginal``:
    the mean rate over all calibrations that could have been drawn is; that of a single one may well be higher."""

    confidence: float = 0.95
    """In conditional mode, the probability over the draw of calibration images that the guarantee holds."""

    per: str | None = None
    """Images that share a threshold: all (``None``), those of one ``product`` or one ``folder``, or those in whose path
    a regular expression finds the same text. ``clipada.calibration.group_of`` has the rules."""

    def __post_init__(self) -> None:
        for name in ("false_alarm_rate", "confidence"):
            require(0 < getattr(self, name) < 1, name, "more than 0 and less than 1", getattr(self, name))
        require(self.mode in get_args(CalibrationMode), "mode", " | ".join(get_args(CalibrationMode)), self.mode)
        try:
            re.compile(self.per or "")
        except (re.error, OverflowError, RecursionError) as error:
            require(False, "per", "product, folder or a regular expression", f"{self.per}: {error}")


@dataclass(frozen=True, kw_only=True)
class CrossFitConfig:
    """Cross-fitting: the training images set the thresholds, each scored by the memory without the rows of its fold."""

    data: str | None = None
    """Folder of the training images, if they have moved; ``None`` for the one that the run records."""

    folds: int | None = None
    """Number of folds of each product, of consecutive images: images of one part, taken several times, should share a
    fold. ``None`` for a fold for each image."""

    def __post_init__(self) -> None:
        require(self.folds is None or self.folds >= 2, "folds", "2 or more", self.folds)


@dataclass(frozen=True, kw_only=True)
class CalibrationCheckConfig:
    """Checks before a calibration replaces the present one. They are no part of it, and ``--force`` skips them."""

    synthetic: int = 32
    """Number of synthetic defects that are drawn for the threshold of each group, and for that of all other images."""

    seed: int = 0
    """Seed of the synthetic defects."""

    unlike_share: float = 0.05
    """The largest share of the images, 0..1, that the input check may find unlike the training images: it is far above
    the share of good parts that the check refuses."""

    alarm_share: float = 0.5
    """The largest share of the new images, 0..1, that the present thresholds call defective: good parts of the same
    products exceed them no more often than guaranteed."""

    ceiling: float = 0.999
    """The highest score threshold, 0..1, that is set without ``--force`` if no synthetic defect can be drawn: in an
    install without PyTorch and kornia, or without images. Scores end at 1, so hardly any defect exceeds a higher
    one."""

    def __post_init__(self) -> None:
        require(self.synthetic >= 1, "synthetic", "1 or more", self.synthetic)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        for name in ("unlike_share", "alarm_share", "ceiling"):
            require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """Test for a difference between today's parts and those of the calibration."""

    false_alarm_chance: float = 0.01
    """Probability that a stream without drift, of any length, is ever called drifting."""

    jump: float = 0.01
    """The share of its capital that the test redistributes among its bets before every part."""

    seed: int = 0
    """Seed of the draws that break ties between scores."""

    def __post_init__(self) -> None:
        require(0 < self.false_alarm_chance < 1, "false_alarm_chance", "0 to 1, exclusive", self.false_alarm_chance)
        require(0 < self.jump <= 1, "jump", "more than 0, at most 1", self.jump)
        require(self.seed >= 0, "seed", "0 or more", self.seed)
