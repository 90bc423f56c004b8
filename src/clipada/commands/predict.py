"""Inspect images with a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Unpack

from clipada.calibration import Calibration
from clipada.config import EngineKeywords, EngineOptions, HistoryConfig, PredictConfig, SinkConfig
from clipada.engines.aligned import unaligned
from clipada.engines.tiled import OnTiles, TiledEngine
from clipada.errors import ClipAdaError, ConfigError
from clipada.files import lock_folder
from clipada.inspection import Inspector
from clipada.inspection.batch import (
    DriftLog,
    Outcome,
    OutcomeRecorder,
    find_sources,
    lock_name,
    open_journal,
    outcomes,
    run_job,
    unfinished,
)
from clipada.inspection.batch.journal import Journal
from clipada.inspection.batch.sources import Source, Sources
from clipada.inspection.record import Record
from clipada.runs import Run, load_calibration
from clipada.runs.hub import find_run, is_hub_name
from clipada.types import Failure, Verdict, ignored

OnCount = Callable[[int], None]
"""Receives the number of images, once they are counted."""


@dataclass(frozen=True, kw_only=True)
class PredictionEvents:
    """Receivers of what is known of a prediction before its outcomes.

    Attributes:
        on_start: Called with the run and its calibration, ``None`` if it has none, before the first image.
        on_count: Called from a thread with the number of images to inspect.
        on_earlier: Called with a sentence on the place of verdicts that an earlier, for example killed, call has made.
        on_tiles: Called while an image of many tiles is inspected; see ``engines.tiled``.
    """

    on_start: Callable[[Run, Calibration | None], object] = lambda *_: None
    on_count: OnCount | None = None
    on_earlier: Callable[[str], object] = lambda _: None
    on_tiles: OnTiles = ignored


LOOKED_UP = 500
"""Number of images that are looked up in the history before they are inspected."""


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
        settings: Batches, workers, threshold, input check, shard, and resume.
        engine: As for ``EngineKeywords``.

    Yields:
        A verdict per image in order; a failure for a file that cannot be read.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is incomplete, ``out`` cannot be written to, or what is in it is of another model.
        BackboneError: The backbone is missing or another one.
        CalibrationError: The run's ``calibration.json`` is damaged or of another model.
        ConfigError: A setting is out of range, or a prediction is to be continued without ``out``.
    """
    found = predict_outcomes(run, images, out, settings, engine=EngineOptions.of(**engine))
    return _results(found)


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
        An outcome for each image in order, once it and its pictures are on the disk: its ``record`` is the content of
        its JSON line, its ``result`` is ``None``.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ClipAdaError: As for ``predict``.
    """
    return predict_outcomes(run, images, out, settings, engine=EngineOptions.of(**engine), ray=True)


def predict_outcomes(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: PredictConfig | None = None,
    *,
    engine: EngineOptions | None = None,
    ray: bool = False,
    history: HistoryConfig | None = None,
    sinks: SinkConfig | None = None,
    events: PredictionEvents | None = None,
) -> Generator[Outcome]:
    """Inspect images as ``predict`` does; each outcome also has the content of its JSON line.

    Args:
        run: As for ``predict``.
        images: As for ``predict``.
        out: As for ``predict``; needed on a cluster.
        settings: As for ``predict``.
        engine: Engine, precision, device and threads.
        ray: True to inspect on Ray.
        history: The database that verdicts are stored in, which then also watches them for drift; none by default.
        sinks: Receivers of each stored verdict.
        events: Receivers of what is known before the outcomes.

    Raises:
        HistoryError: The database cannot be used.
        SinkError: A sink's address or secret cannot be used.
        ClipAdaError: As for ``predict``.
    """
    settings, engine, events = settings or PredictConfig(), engine or EngineOptions(), events or PredictionEvents()
    cluster = _cluster_folder(out, history) if ray else None
    sources, description = find_sources(images, out, settings), find_run(run)
    calibration, _ = load_calibration(description)
    events.on_start(description, calibration)
    with ExitStack() as resources:
        recorder = _open_recorder(history, sinks, calibration, resources)
        if cluster is None:
            inspector = Inspector.load(
                description, engine=engine, threshold=settings.threshold, input_check=settings.input_check
            )
            if isinstance(tiled := unaligned(inspector.engine), TiledEngine):
                tiled.on_tiles = events.on_tiles
            folder = None if out is None else _locked(Path(out), settings, resources)
            journal = open_journal(folder, settings, _basis(inspector))
            found = outcomes(inspector, unfinished(sources, journal), folder, settings)
        else:
            journal = open_journal(_locked(cluster, settings, resources), settings)
            found = _on_ray(unfinished(sources, journal), run, description, cluster, settings, engine)
        for sentence in _earlier(sources, journal, recorder, description):
            events.on_earlier(sentence)
        if events.on_count is not None:
            Thread(target=_count, args=(sources, journal, events.on_count), daemon=True).start()
        return run_job(found, recorder, journal, resources.pop_all())


def _cluster_folder(out: Path | str | None, history: HistoryConfig | None) -> Path:
    """Return the folder that a cluster writes into; refuse what a cluster cannot do, or if Ray is not installed."""
    if history is not None:
        raise ConfigError("a cluster stores no verdicts in a database", got="--database", remedy="leave out --ray")
    if out is None:
        raise ConfigError(
            "a cluster writes into a folder", got="no --out", remedy="pass --out DIR, which all can reach"
        )
    from clipada.inspection.batch.ray import require_ray

    require_ray()
    return Path(out).absolute()


def _on_ray(
    todo: Iterable[Source],
    run: Path | str,
    description: Run,
    folder: Path,
    settings: PredictConfig,
    engine: EngineOptions,
) -> Iterator[Outcome]:
    """Inspect images on a cluster; a run from the hub is found by its name on every machine."""
    from clipada.inspection.batch.ray import RayJob, inspect_on_ray

    place = str(run) if is_hub_name(run) else description.folder.absolute()
    return inspect_on_ray(todo, RayJob(run=place, here=Path.cwd(), out=folder, settings=settings, engine=engine))


def _locked(out: Path, settings: PredictConfig, resources: ExitStack) -> Path:
    """Create the output folder if it does not exist and lock it, for this shard, until the prediction ends."""
    resources.enter_context(lock_folder(out, lock_name(settings.shard)))
    return out


def _open_recorder(
    history: HistoryConfig | None, sinks: SinkConfig | None, calibration: Calibration | None, resources: ExitStack
) -> OutcomeRecorder:
    """Open the database, which watches for drift across programs; without one, watch for drift in this job."""
    if history is None:
        if sinks is not None and sinks.any:
            raise ConfigError("verdicts wait for sinks in a database", got="none", remedy="pass --database URL")
        return DriftLog(calibration)
    from clipada.history.recorder import Recorder

    return resources.enter_context(Recorder(calibration, history, sinks))


def _earlier(sources: Sources, journal: Journal | None, recorder: OutcomeRecorder, run: Run) -> Iterator[str]:
    """Say where verdicts of the images are that were made before: a kill may have lost their lines on the way."""
    if journal is not None and len(journal):
        yield (
            f"{len(journal)} images have a verdict already and are skipped; their lines are in {journal.partial}, "
            f"which becomes {journal.path.name}"
        )
    history = getattr(recorder, "history", None)
    if history is None:
        return
    paths = [source.path for source in islice(sources, LOOKED_UP)]
    stored = history.count_of(paths, run.model_sha256)
    if stored:
        yield (
            f"{stored} of the first {len(paths)} images have a verdict of this model in {history.place} "
            "already, for example of a call that was killed: see `clipada history list` and `clipada history export`"
        )


def _count(sources: Sources, journal: Journal | None, on_count: OnCount) -> None:
    """Count the images, in a thread because a million take a while; the inspection reports any error."""
    try:
        on_count(sum(1 for _ in unfinished(sources, journal)))
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
