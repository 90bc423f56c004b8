"""Settings of what comes after a training: what a calibration promises, when parts drift, what is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from clipada.config.schema import require

CalibrationMode = Literal["conditional", "marginal"]
Keep = Literal["none", "defective", "all"]
Word = Literal["confirmed", "rejected", "none"]
"""What an operator said of a verdict last; ``none``: nothing yet."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What a calibration promises. Not part of what a run is: it changes without training or exporting again."""

    false_alarm_rate: float = 0.01
    """The share of good parts that may be called defective."""

    mode: CalibrationMode = "conditional"
    """``conditional``: this calibration's own rate is at most the asked one, with ``confidence``. ``marginal``: the
    mean rate over all calibrations that could have been drawn is; a single one may well lie above it."""

    confidence: float = 0.95
    """In conditional mode, the chance, over the draw of calibration images, that the promise holds."""

    per: str | None = None
    """Which images share a threshold: all (``None``), those of one ``product`` or one ``folder``, or those in whose
    path a regular expression finds the same text. ``clipada.calibration.group_of`` has the rules."""

    def __post_init__(self) -> None:
        for name in ("false_alarm_rate", "confidence"):
            require(0 < getattr(self, name) < 1, name, "more than 0 and less than 1", getattr(self, name))
        require(self.mode in get_args(CalibrationMode), "mode", " | ".join(get_args(CalibrationMode)), self.mode)
        try:
            re.compile(self.per or "")
        except re.error as error:
            require(False, "per", "product, folder or a regular expression", f"{self.per}: {error}")


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """When the parts of today are said to differ from those of the calibration."""

    false_alarm_chance: float = 0.01
    """The chance that a stream without drift, however long, is ever called drifting."""

    jump: float = 0.01
    """The share of its capital that the test redistributes among its bets before every part."""

    seed: int = 0
    """Ties between scores are broken at random; the draws follow from this number."""

    def __post_init__(self) -> None:
        require(0 < self.false_alarm_chance < 1, "false_alarm_chance", "0 to 1, exclusive", self.false_alarm_chance)
        require(0 < self.jump <= 1, "jump", "more than 0, at most 1", self.jump)
        require(self.seed >= 0, "seed", "0 or more", self.seed)


@dataclass(frozen=True, kw_only=True)
class HistoryConfig:
    """Where verdicts are stored."""

    database: str = "sqlite:///history.db"
    """A database URL as SQLAlchemy reads it: an SQLite file, ``postgresql+psycopg://user@host/name``, ..."""

    keep: Keep = "none"
    """Which images are kept beside their verdicts."""

    images: str = "clipada-images"
    """The folder that they are kept in, under their hashes."""

    def __post_init__(self) -> None:
        require(self.keep in get_args(Keep), "keep", " | ".join(get_args(Keep)), self.keep)
