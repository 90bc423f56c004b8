"""Lines of ``evaluation/scores.jsonl`` and of ``predict``, checked: values that no part can have are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clipada.config.schema import build_known, checked, require, shown
from clipada.errors import ConfigError
from clipada.evaluation.kinds import decide
from clipada.inspection.record import DISTRIBUTIONS, placement_words
from clipada.report.parts import ScoredPart
from clipada.types import Decision

_SHARE = float | None
_BOX = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class _FailedLine:
    """Line of ``predict`` for an image that could not be inspected."""

    error: str


@dataclass(frozen=True, kw_only=True)
class _TestLine:
    """Line of ``evaluation/scores.jsonl``, without what reports do not need."""

    path: Path
    category: str
    defect: str
    scores: tuple[float | None, ...]
    mask: Path | None = None
    more_masks: tuple[Path, ...] = ()
    input_reason: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.scores), "scores", "a score or more", self.scores, "field")
        for score in self.scores:
            _require_share("scores", score if score is None or math.isfinite(score) else None)


@dataclass(frozen=True, kw_only=True)
class _EngineLine:
    engine: str


@dataclass(frozen=True, kw_only=True)
class _PlaceLine:
    right: float
    down: float
    degrees: float
    scale: float
    fit: float


@dataclass(frozen=True, kw_only=True)
class _RegionLine:
    box: _BOX | None = None
    area: int | None = None


@dataclass(frozen=True, kw_only=True)
class _PredictedLine:
    """Line of ``predict`` for an inspected image, without what reports do not need."""

    path: Path | None
    score: float
    threshold: float
    regions: tuple[Any, ...]
    score_threshold: float | None = None
    group: str | None = None
    width: int | None = None
    height: int | None = None
    calibration: str | None = None
    model: dict[str, Any] | None = None
    decision: Decision | None = None
    defective: bool | None = None
    input_reason: str | None = None
    placement: dict[str, Any] | None = None
    image_sha256: str | None = None
    time: str | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        _require_share("score", self.score if math.isfinite(self.score) else None)
        _require_share("threshold", self.threshold)
        _require_share("score_threshold", self.score_threshold)
        for name in ("width", "height"):
            pixels = getattr(self, name)
            require(pixels is None or pixels >= 1, name, "1 or more pixels", pixels, "field")
        latency = self.latency_ms
        require(latency is None or 0 <= latency < math.inf, "latency_ms", "0 or more", latency, "field")
        require(self.time is None or _is_time(self.time), "time", "a time as ISO 8601 writes it", self.time, "field")
        self._require_consistent()

    @property
    def reason(self) -> str | None:
        """The reason why the image is not inspectable, if it is not."""
        return (self.input_reason or "no reason given") if self.decision == "not_inspectable" else None

    def _require_consistent(self) -> None:
        """Raise ``ConfigError`` unless the decision is that of score and threshold."""
        right = decide(self.score, self.score_threshold, self.reason)
        if right is None or not math.isfinite(self.score):
            return
        require(self.decision in (None, right), "decision", f"{right}, by score and threshold", self.decision, "field")
        fits = self.defective is None or self.defective == (right == "defective")
        require(fits, "defective", f"{right == 'defective'}, by score and threshold", self.defective, "field")


def failed_error(record: Mapping[str, Any]) -> str:
    """Return the error of a line of ``predict`` for an image that could not be inspected, in one line."""
    line: _FailedLine = build_known(_FailedLine, record, "")
    return " ".join(line.error.split())


def tested_part(record: Any) -> ScoredPart:
    """Return the part of a line of ``evaluation/scores.jsonl``; the last score is that of the final map.

    Raises:
        ConfigError: A field is missing, of the wrong type or out of range.
    """
    line: _TestLine = build_known(_TestLine, record, "")
    score = line.scores[-1]
    return ScoredPart(
        path=line.path,
        category=line.category,
        score=math.nan if score is None else score,
        defect=line.defect,
        masks=line.more_masks if line.mask is None else (line.mask, *line.more_masks),
        input_reason=line.input_reason,
    )


def inspected_part(record: Any) -> ScoredPart:
    """Return the part of a line of ``predict``, with its thresholds.

    Raises:
        ConfigError: As for ``tested_part``.
    """
    line: _PredictedLine = build_known(_PredictedLine, record, "")
    for number, region in enumerate(line.regions):
        _require_region(region, f"regions[{number}].", line)
    return ScoredPart(
        path=line.path,
        category=line.group or "",
        score=line.score,
        threshold=line.threshold,
        regions=len(line.regions),
        score_threshold=line.score_threshold,
        shares=_shares(record),
        calibration=line.calibration,
        input_reason=line.reason,
        placement=_placement(line.placement),
        engine=None if line.model is None else build_known(_EngineLine, line.model, "model.").engine,
        image_sha256=line.image_sha256,
        time=line.time,
    )


def _placement(values: dict[str, Any] | None) -> str:
    """Return the place of the part in words; nothing for an image that was not aligned."""
    return "" if values is None else placement_words(vars(build_known(_PlaceLine, values, "placement.")))


def _shares(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the further shares of a verdict, by their symbols."""
    shares = {}
    for name, distribution in DISTRIBUTIONS.items():
        share = None if name == "score" else checked(record.get(name), _SHARE, name, "field")
        if share is not None:
            _require_share(name, share)
            shares[distribution.symbol] = share
    return shares


def _require_share(name: str, value: float | None) -> None:
    """Raise ``ConfigError`` unless a value, if there is one, is 0..1, but for rounding errors."""
    require(value is None or -1e-3 <= value <= 1 + 1e-3, name, "0 to 1", value, "field")


def _require_region(record: Any, where: str, line: _PredictedLine) -> None:
    """Raise ``ConfigError`` unless a region is inside its image and its area inside its box."""
    region: _RegionLine = build_known(_RegionLine, record, where)
    if region.box is None:
        return
    left, top, right, bottom = region.box
    width, height = (math.inf if side is None else side for side in (line.width, line.height))
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    require(inside, f"{where}box", f"inside the image, {line.width} x {line.height} pixels", region.box, "field")
    most = (right - left) * (bottom - top)
    if region.area is not None and not 1 <= region.area <= most:
        expected = f"1 to {most}, the pixels of its box"
        raise ConfigError(f"field {where}area is out of range", expected=expected, got=shown(region.area))


def _is_time(text: str) -> bool:
    """Return True for a date and a time of day as ISO 8601 writes them."""
    with suppress(ValueError):
        return "T" in text and bool(datetime.fromisoformat(text))
    return False
