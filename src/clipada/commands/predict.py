"""Inspect images with a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Unpack

from clipada.calibration import Calibration, read_calibration
from clipada.config import EngineKeywords, EngineOptions, HistoryConfig, PredictConfig, SinkConfig
from clipada.errors import ClipAdaError, ConfigError
from clipada.files import ensure_folder
from clipada.inspection import Inspector
from clipada.inspection.batch import DriftLog, Outcome, find_sources, open_journal, outcomes, run_job
from clipada.inspection.batch.journal import Journal
from clipada.inspection.batch.sources import Source, Sources
from clipada.inspection.record import Record
from clipada.runs import CALIBRATION, Run
from clipada.runs.hub import find_run, is_hub_name
from clipada.types import Failure, Verdict

if TYPE_CHECKING:
    from clipada.history.recorder import Recorder

OnCount = Callable[[int], None]
"""Receives the number of images, once they are counted."""


def predict(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: PredictConfig | None = None,
    **engine: Unpack[EngineKeywords],
) -> Iterator[Verdict | Failure]:
    """Inspect a file or a folder of images, or several of each, while the results are taken.

    With ``out``, each image's overlay (``NAME.overlay.png``) and 16-bit anomaly map (``NAME.map.png``, value / 65535,
    in its own geometry) are written there, and its JSON line into ``predictions.partial.jsonl``, which becomes
    ``predictions.jsonl`` at the end. Such pictures of an earlier prediction are not inspected. With a calibration,
    drift among the images is logged as a warning at the end.

    Args:
        run: The run folder, or ``owner/name`` of a run on the Hugging Face hub.
        images: Image files or folders.
        out: The folder for pictures and JSON lines, if any.
        settings: Batches, workers, threshold, shard, and resume.
        engine: As for ``EngineKeywords``.

    Yields:
        A verdict per image in order; a failure for a file that cannot be read.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is not whole, ``out`` cannot be written to, or what is in it is of another model.
        BackboneError: The backbone is missing or another one.
        CalibrationError: The run's ``calibration.json`` is damaged or of another model.
        ConfigError: A setting is out of range, or a prediction is to be continued without ``out``.
    """
    found = predict_outcomes(run, images, out, settings, engine=EngineOptions.of(**engine))
    return _results(found)


def predict_outcomes(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: PredictConfig | None = None,
    *,
    engine: EngineOptions | None = None,
    history: HistoryConfig | None = None,
    sinks: SinkConfig | None = None,
    on_count: OnCount | None = None,
) -> Generator[Outcome]:
    """Inspect images as ``predict`` does; each outcome also has its JSON line.

    Args:
        run: As for ``predict``.
        images: As for ``predict``.
        out: As for ``predict``.
        settings: As for ``predict``.
        engine: Engine, precision, device and threads.
        history: The database that verdicts are stored in, which then also watches them for drift; none by default.
        sinks: Receivers of each stored verdict.
        on_count: Called from a thread with the number of images to inspect.

    Raises:
        HistoryError: The database cannot be used.
        SinkError: A sink's address or secret cannot be used.
        ClipAdaError: As for ``predict``.
    """
    settings = settings or PredictConfig()
    sources, description = find_sources(images, out, settings), find_run(run)
    with ExitStack() as stack:
        recorder = _recorder(history, sinks, _calibration(description))
        if recorder is not None:
            stack.enter_context(recorder)
        inspector = Inspector.load(description, engine=engine, threshold=settings.threshold)
        folder = None if out is None else ensure_folder(Path(out))
        journal = open_journal(folder, settings, _basis(inspector))
        if on_count is not None:
            Thread(target=_count, args=(sources, journal, on_count), daemon=True).start()
        found = outcomes(inspector, _todo(sources, journal), folder, settings)
        return _recorded(found, journal, recorder, inspector.calibration, stack.pop_all())


def predict_on_ray(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str,
    settings: PredictConfig | None = None,
    **engine: Unpack[EngineKeywords],
) -> Generator[Outcome]:
    """Inspect images as ``predict`` does, on Ray: on the cluster that ``RAY_ADDRESS`` names, else on this machine.

    Images, ``out`` and a run folder must have the same paths on every machine.

    Yields:
        An outcome for each image in order, once it and its pictures are on the disk; its ``result`` is ``None``.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is not whole, ``out`` cannot be written to, or what is in it is of another model.
        ModuleNotFoundError: Ray is not installed.
    """
    from clipada.inspection.batch.ray import RayJob, inspect_on_ray, require_ray

    require_ray()
    settings = settings or PredictConfig()
    sources, description = find_sources(images, out, settings), find_run(run)
    folder = ensure_folder(Path(out).absolute())
    job = RayJob(
        run=str(run) if is_hub_name(run) else description.folder.absolute(),
        here=Path.cwd(),
        out=folder,
        settings=settings,
        engine=EngineOptions.of(**engine),
    )
    journal = open_journal(folder, settings)
    found = inspect_on_ray(_todo(sources, journal), job)
    return _recorded(found, journal, None, _calibration(description), ExitStack())


def _recorded(
    found: Iterable[Outcome],
    journal: Journal | None,
    recorder: Recorder | None,
    calibration: Calibration | None,
    stack: ExitStack,
) -> Generator[Outcome]:
    """Run the job with a database, which watches for drift across programs, or with a watch of its own."""
    with stack:
        if recorder is None:
            drift = DriftLog(calibration)
            yield from run_job(found, journal, record=drift.add, finish=drift.warn_of_drift)
            return
        yield from run_job(found, journal, record=recorder.record, finish=recorder.warn_of_drift)
        recorder.finish()


def _recorder(
    history: HistoryConfig | None, sinks: SinkConfig | None, calibration: Calibration | None
) -> Recorder | None:
    """Open the database, if one is named."""
    if history is None:
        if sinks is not None and sinks.any:
            raise ConfigError("sinks receive stored verdicts", got="no database", remedy="pass --database URL")
        return None
    from clipada.history.recorder import Recorder

    return Recorder(calibration, history, sinks)


def _calibration(run: Run) -> Calibration | None:
    """Return the run's calibration, if it has one."""
    path = run.folder / CALIBRATION
    return read_calibration(path) if path.exists() else None


def _todo(sources: Sources, journal: Journal | None) -> Iterator[Source]:
    """Yield the images without a verdict of an earlier prediction."""
    return (source for source in sources if journal is None or not journal.is_done(source.path))


def _count(sources: Sources, journal: Journal | None, on_count: OnCount) -> None:
    """Count the images, in a thread because a million take a while; the inspection reports any error."""
    try:
        on_count(sum(1 for _ in _todo(sources, journal)))
    except ClipAdaError:
        return


def _basis(inspector: Inspector) -> Record:
    """Return the model, calibration and threshold of the inspector's verdicts, as in a record of no group."""
    return {
        "model": None if inspector.model is None else asdict(inspector.model),
        "calibration": None if inspector.calibration is None else inspector.calibration.id,
        "group": None,
        "threshold": inspector.region_level(None),
    }


def _results(found: Generator[Outcome]) -> Iterator[Verdict | Failure]:
    """Yield the results alone."""
    with closing(found):
        for outcome in found:
            if outcome.result is not None:
                yield outcome.result
