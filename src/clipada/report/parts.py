"""The parts of a report: the test images that ``evaluate`` scored, or the images that ``predict`` inspected."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clipada.errors import ClipAdaError, RunError
from clipada.inspection.record import DISTRIBUTIONS
from clipada.runs import METRICS, SCORES, Run

Kind = Literal["good", "anomalous", "inspected"]

_Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """One scored image.

    Attributes:
        path: The image file; ``None`` for an image that was passed without one.
        category: The product it shows; empty if unknown.
        score: Image score, 0..1.
        defect: The kind of defect, ``good`` for none, ``None`` if unknown.
        mask: The ground-truth mask file, if there is one.
        threshold: Map value above which a pixel belongs to a region; ``None`` for the run's own.
        regions: Number of regions; ``None`` if unknown.
        score_threshold: The image score above which it is defective; ``None`` without a calibration.
        shares: Further shares of its verdict, such as the p-value, by their symbols.
        calibration: Id of the calibration of its verdict.
        engine: Engine and precision of its verdict, if known.
    """

    path: Path | None
    category: str
    score: float
    defect: str | None = None
    mask: Path | None = None
    threshold: float | None = None
    regions: int | None = None
    score_threshold: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    calibration: str | None = None
    engine: str | None = None

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


def _read(path: Path, to_part: Callable[[_Record], ScoredPart], remedy: str) -> Parts:
    """Read one part per line; lines with an error instead of a score are left out."""
    scored: list[ScoredPart] = []
    left_out: list[str] = []
    for number, line in enumerate(_lines(path, remedy), start=1):
        try:
            record = json.loads(line)
            part = " ".join(record["error"].split()) if "error" in record else to_part(record)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _unfit(path, f"line {number}: {line[:80]}", remedy) from error
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


def _scored(record: _Record) -> ScoredPart:
    """Return the part of a line of ``evaluation/scores.jsonl``; the last score is that of the final map."""
    score, mask = record["scores"][-1], record.get("mask")
    return ScoredPart(
        path=Path(record["path"]),
        category=str(record["category"]),
        score=math.nan if score is None else float(score),
        defect=str(record["defect"]),
        mask=None if mask is None else Path(mask),
    )


def _inspected(record: _Record) -> ScoredPart:
    """Return the part of a line of ``predict``, with its thresholds."""
    limit, model = record.get("score_threshold"), record.get("model")
    return ScoredPart(
        path=None if record["path"] is None else Path(record["path"]),
        category="",
        score=float(record["score"]),
        threshold=float(record["threshold"]),
        regions=len(record["regions"]),
        score_threshold=None if limit is None else float(limit),
        shares={
            distribution.symbol: float(record[name])
            for name, distribution in DISTRIBUTIONS.items()
            if name != "score" and record.get(name) is not None
        },
        calibration=record.get("calibration"),
        engine=None if model is None else str(model["engine"]),
    )


def _unfit(path: Path | str, got: str, remedy: str) -> ClipAdaError:
    """Return the error for a file without parts."""
    return ClipAdaError(f"cannot report on {path}", expected="JSON lines as clipada wrote them", got=got, remedy=remedy)
