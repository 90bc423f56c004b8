"""Reading of the parts of a report, from the files of ``evaluate`` and ``predict``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipada.config.schema import shown
from clipada.errors import ClipAdaError, ConfigError, RunError
from clipada.files import parse_json
from clipada.report.lines import failed_error, inspected_part, tested_part
from clipada.report.parts import Parts, ScoredPart
from clipada.runs import METRICS, SCORES, Run


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
    if run.metrics is None:
        what = f"the last evaluation of run {run.folder} is of the memory before its latest change"
        raise RunError(what, expected="an evaluation of the present one", remedy=remedy)
    parts = _read([run.folder / SCORES], tested_part, remedy)
    unusable = run.metrics["protocol"].get("left_out", []) if run.metrics else []
    return replace(parts, left_out=(*parts.left_out, *(f"{path} could not be used" for path in unusable)))


def read_verdicts(paths: Sequence[Path], lacking: Sequence[str] = ()) -> Parts:
    """Read the JSON lines that ``clipada predict`` wrote.

    An image that was passed as bytes has no path: its score is in the histogram, but it cannot be shown. Of an image
    with several lines the last one counts.

    Args:
        paths: The files, several for a sharded prediction.
        lacking: Names of missing files of other shards.

    Raises:
        ClipAdaError: A file is missing, a line is not one of ``predict``, or no line has a score.
    """
    remedy = "write it with `clipada predict RUN IMAGES > FILE`, or with `--out DIR`"
    parts = _read(paths, inspected_part, remedy)
    return replace(parts, left_out=(*parts.left_out, *(f"{name} is missing" for name in lacking)))


def _read(paths: Sequence[Path], to_part: Callable[[Any], ScoredPart], remedy: str) -> Parts:
    """Read one part per line; leave out lines with an error instead of a score, and all but the last of an image."""
    read = [found for path in paths for found in _found(path, to_part, remedy)]
    scored = [found for found in read if isinstance(found, ScoredPart)]
    if not scored:
        raise _unfit(", ".join(map(str, paths)), "no scored image", remedy)
    last = {_image(part) or (index,): index for index, part in enumerate(scored)}
    again = [part for index, part in enumerate(scored) if last[_image(part) or (index,)] != index]
    repeated = (f"{part.path or 'an image without a file'} has a later line, which counts" for part in again)
    return Parts(
        scored=tuple(scored[index] for index in sorted(last.values())),
        left_out=(*(found for found in read if isinstance(found, str)), *repeated),
    )


def _image(part: ScoredPart) -> tuple[object, ...] | None:
    """Return the file and its content, by which an image is known; ``None`` if neither is."""
    identity = (part.path, part.image_sha256)
    return None if identity == (None, None) else identity


def _found(path: Path, to_part: Callable[[Any], ScoredPart], remedy: str) -> Iterator[ScoredPart | str]:
    """Yield the part of each line, or the reason why it is left out."""
    for number, line in enumerate(_lines(path, remedy), start=1):
        try:
            record = parse_json(line)
            failed = isinstance(record, dict) and "error" in record
            part = failed_error(record) if failed else to_part(record)
        except ConfigError as error:
            raise _unfit(f"{path}: line {number}: {error.what}", error.got, remedy, error.expected) from error
        except ValueError as error:
            raise _unfit(path, f"line {number}: {shown(line)}", remedy) from error
        if isinstance(part, str) or math.isfinite(part.score):
            yield part
        else:
            yield f"the score of {part.path or 'an image without a file'} is not finite"


def _lines(path: Path, remedy: str) -> Iterator[str]:
    """Yield the lines that are not blank."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _unfit(path, getattr(error, "strerror", None) or str(error), remedy) from error


def _unfit(
    path: Path | str, got: str | None, remedy: str, expected: str | None = "JSON lines as clipada wrote them"
) -> ClipAdaError:
    """Return the error for a file without parts."""
    return ClipAdaError(f"cannot report on {path}", expected=expected, got=got, remedy=remedy)
