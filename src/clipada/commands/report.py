"""Write an HTML report of an evaluation or of predictions."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Unpack

from clipada.config import BatchConfig, EngineKeywords
from clipada.inspection import Inspector
from clipada.inspection.batch import find_predictions
from clipada.report import Parts, Report, read_scores, read_verdicts, write_report
from clipada.runs import read_run

REPORT = "report.html"


def report_run(
    run: Path | str,
    verdicts: Path | str | None = None,
    out: Path | str | None = None,
    *,
    batch_size: int = BatchConfig.batch_size,
    workers: int = BatchConfig.workers,
    **engine: Unpack[EngineKeywords],
) -> Report:
    """Write a self-contained HTML report of a run's last evaluation, or of the verdicts of ``predict``, and a CSV.

    The parts that it shows are read and inspected again; the page itself needs nothing else.

    Args:
        run: The run folder.
        verdicts: The JSON lines of ``predict``, or the folder that it wrote into, shards and all; ``None`` reports the
            evaluation.
        out: The page to write, or a folder to write ``report.html`` into; by default the run folder, the folder of
            ``verdicts``, or the file beside ``verdicts`` of its name and the ending ``.html``. The CSV is beside it:
            ``report.csv``, or for a page ``NAME.html`` ``NAME-report.csv``.
        batch_size: Images per forward pass.
        workers: Threads that decode.
        engine: As for ``EngineKeywords``.

    Returns:
        Where the report is, its headline, and the parts that could not be shown.

    Raises:
        RunError: The run folder is incomplete, or was not evaluated.
        ClipAdaError: The verdicts, or the scores kept by ``evaluate``, cannot be read.
        BackboneError: The backbone is missing or another one.
    """
    description = read_run(Path(run))
    parts = read_scores(description) if verdicts is None else _verdicts(Path(verdicts))
    path = Path(out or (run if verdicts is None else _beside(Path(verdicts))))
    inspector = Inspector.load(description, **engine)
    command = shlex.join(["clipada", "report", str(run), *([] if verdicts is None else [str(verdicts)])])
    return write_report(
        path / REPORT if path.is_dir() else path,
        description,
        parts,
        partial(inspector.inspect_files, batch_size=batch_size, workers=workers),
        command=command,
        image_threshold=inspector.score_threshold,
    )


def _verdicts(given: Path) -> Parts:
    """Read the verdicts of a file, or of all files in a folder that ``predict`` wrote into."""
    return read_verdicts(*find_predictions(given)) if given.is_dir() else read_verdicts([given])


def _beside(verdicts: Path) -> Path:
    """Return the default place of a report on verdicts."""
    return verdicts if verdicts.is_dir() else verdicts.with_suffix(".html")
