"""The parts of a report: the test images that ``evaluate`` scored, or the images that ``predict`` inspected."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clipada.config.schema import build_known, checked, require, shown
from clipada.errors import ClipAdaError, ConfigError, RunError
from clipada.files import parse_json
from clipada.inspection.record import DISTRIBUTIONS
from clipada.runs import METRICS, SCORES, Run

Kind = Literal["good", "anomalous", "inspected"]

_Record = dict[str, Any]

_SHARE = float | None


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """One scored image.

    Attributes:
        path: The image file; ``None`` for an image that was passed without one.
        category: The product it shows; empty if unknown.
        score: Image score, 0..1.
        defect: The kind of defect, ``good`` for none, ``None`` if unknown.
        masks: The ground-truth mask files, which together are the ground truth.
        threshold: Map value above which a pixel belongs to a region; ``None`` for the run's own.
        regions: Number of regions; ``None`` if unknown.
        score_threshold: The image score above which it is defective; ``None`` without a calibration.
        shares: Further shares of its verdict, such as the p-value, by their symbols.
        calibration: Id of the calibration of its verdict.
        engine: Engine and precision of its verdict, if known.
        input_reason: The reason why its image is not inspectable, if it is unlike all training images.
    """

    path: Path | None
    category: str
    score: float
    defect: str | None = None
    masks: tuple[Path, ...] = ()
    threshold: float | None = None
    regions: int | None = None
    score_threshold: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    calibration: str | None = None
    engine: str | None = None
    input_reason: str | None = None

    @property
    def counts(self) -> bool:
        """True if the score says something on the part: it is labeled, or its image was inspectable."""
        return self.input_reason is None or self.defect is not None

    @property
    def kind(self) -> Kind:
        """The label: good, anomalous, or inspected without a label."""
        if self.defect is None:
            return "inspected"
        return "good" if self.defect == "good" else "anomalous"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The scored parts, and the images without a score.

    Attributes:
        scored: The parts, in the file's order.
        left_out: For each other image, the reason it has no score.
    """

    scored: tuple[ScoredPart, ...]
    left_out: tuple[str, ...]

    @property
    def labeled(self) -> bool:
        """True if parts are known to be good or anomalous."""
        return any(part.kind != "inspected" for part in self.scored)


def read_scores(run: Run) -> Parts:
    """Read the test images of a run's last evaluation.

    Raises:
        RunError: The run was not evaluated, or its metrics are damaged.
        ClipAdaError: The stored scores are damaged.
    """
    remedy = f"run `clipada evaluate {run.folder} DATA`"
    for name in (METRICS, SCORES):
        if not (run.folder / name).is_file():
            raise RunError(f"run {run.folder} was not evaluated", expected=name, got="no such file", remedy=remedy)
    parts = _read(run.folder / SCORES, _scored, remedy)
    if not parts.scored:
        raise _unfit(run.folder / SCORES, "no scored image", remedy)
    unusable = run.metrics["protocol"].get("left_out", []) if run.metrics else []
    return replace(parts, left_out=(*parts.left_out, *(f"{path} could not be used" for path in unusable)))


def read_verdicts(paths: Sequence[Path], lacking: Sequence[str] = ()) -> Parts:
    """Read the JSON lines that ``clipada predict`` wrote.

    An image that was passed as bytes has no path: its score is in the histogram, but it cannot be shown.

    Args:
        paths: The files, several for a sharded prediction.
        lacking: Names of missing files of other shards.

    Raises:
        ClipAdaError: A file is missing, a line is not one of ``predict``, or no line has a score.
    """
    remedy = "write it with `clipada predict RUN IMAGES > FILE`, or with `--out DIR`"
    read = [_read(path, _inspected, remedy) for path in paths]
    scored = tuple(part for parts in read for part in parts.scored)
    if not scored:
        raise _unfit(", ".join(map(str, paths)), "no scored image", remedy)
    return Parts(
        scored=scored,
        left_out=(*(line for parts in read for line in parts.left_out), *(f"{name} is missing" for name in lacking)),
    )


def _read(path: Path, to_part: Callable[[Any], ScoredPart], remedy: str) -> Parts:
    """Read one part per line; lines with an error instead of a score are left out."""
    scored: list[ScoredPart] = []
    left_out: list[str] = []
    for number, line in enumerate(_lines(path, remedy), start=1):
        try:
            record = parse_json(line)
            failed = isinstance(record, dict) and "error" in record
            part = " ".join(_failed(record).error.split()) if failed else to_part(record)
        except ConfigError as error:
            raise _unfit(f"{path}: line {number}: {error.what}", error.got, remedy, error.expected) from error
        except ValueError as error:
            raise _unfit(path, f"line {number}: {shown(line)}", remedy) from error
        if isinstance(part, ScoredPart) and math.isfinite(part.score):
            scored.append(part)
        else:
            left_out.append(
                part
                if isinstance(part, str)
                else f"the score of {part.path or 'an image without a file'} is not finite"
            )
    return Parts(scored=tuple(scored), left_out=tuple(left_out))


def _lines(path: Path, remedy: str) -> Iterator[str]:
    """Yield the lines that are not blank."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _unfit(path, getattr(error, "strerror", None) or str(error), remedy) from error


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
class _PredictedLine:
    """Line of ``predict`` for an inspected image, without what reports do not need."""

    path: Path | None
    score: float
    threshold: float
    regions: tuple[Any, ...]
    score_threshold: float | None = None
    calibration: str | None = None
    model: dict[str, Any] | None = None
    decision: str | None = None
    input_reason: str | None = None

    def __post_init__(self) -> None:
        _require_share("score", self.score if math.isfinite(self.score) else None)
        _require_share("threshold", self.threshold)
        _require_share("score_threshold", self.score_threshold)


def _require_share(name: str, value: float | None) -> None:
    """Raise ``ConfigError`` unless a value, if there is one, is 0..1, but for rounding errors."""
    require(value is None or -1e-3 <= value <= 1 + 1e-3, name, "0 to 1", value, "field")


def _failed(record: _Record) -> _FailedLine:
    line: _FailedLine = build_known(_FailedLine, record, "")
    return line


def _scored(record: Any) -> ScoredPart:
    """Return the part of a line of ``evaluation/scores.jsonl``; the last score is that of the final map."""
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


def _inspected(record: Any) -> ScoredPart:
    """Return the part of a line of ``predict``, with its thresholds."""
    line: _PredictedLine = build_known(_PredictedLine, record, "")
    shares = {
        distribution.symbol: checked(record.get(name), _SHARE, name, "field")
        for name, distribution in DISTRIBUTIONS.items()
        if name != "score"
    }
    return ScoredPart(
        path=line.path,
        category="",
        score=line.score,
        threshold=line.threshold,
        regions=len(line.regions),
        score_threshold=line.score_threshold,
        shares={symbol: share for symbol, share in shares.items() if share is not None},
        calibration=line.calibration,
        input_reason=(line.input_reason or "no reason given") if line.decision == "not_inspectable" else None,
        engine=None if line.model is None else build_known(_EngineLine, line.model, "model.").engine,
    )


def _unfit(
    path: Path | str, got: str | None, remedy: str, expected: str | None = "JSON lines as clipada wrote them"
) -> ClipAdaError:
    """Return the error for a file without parts."""
    return ClipAdaError(f"cannot report on {path}", expected=expected, got=got, remedy=remedy)
