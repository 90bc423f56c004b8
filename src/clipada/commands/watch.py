"""Follow a folder: inspect and store each new image once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack

from clipada.config import EngineKeywords, HistoryConfig, PredictConfig, SinkConfig, WatchConfig
from clipada.files import lock_folder
from clipada.history.recorder import Recorder
from clipada.history.watching.lock import hold_watch
from clipada.history.watching.unwritten import PictureFolder
from clipada.history.watching.watch import FolderWatch, require_folder
from clipada.inspection import Inspector
from clipada.inspection.batch import Outcome, run_job
from clipada.inspection.record import verdict_record
from clipada.runs import load_calibration
from clipada.runs.hub import find_run
from clipada.types import ignored


def watch(
    run: Path | str,
    folder: Path | str,
    settings: WatchConfig | None = None,
    *,
    history: HistoryConfig | None = None,
    sinks: SinkConfig | None = None,
    out: Path | str | None = None,
    inspection: PredictConfig | None = None,
    once: bool = False,
    stopped: Callable[[], bool] | None = None,
    on_start: Callable[[str], object] = ignored,
    **engine: Unpack[EngineKeywords],
) -> Iterator[Outcome]:
    """Follow a folder that cameras write into; each image is inspected and stored once, also after a restart.

    Args:
        run: The run folder, or ``owner/name`` of a run on the Hugging Face hub.
        folder: The folder to follow, at any depth.
        settings: When a file counts as complete.
        history: The database of verdicts and of the files seen.
        sinks: Receivers of each verdict.
        out: The folder for overlays and 16-bit maps, if any.
        inspection: Images per forward pass, threads that decode, threshold of regions, and input check.
        once: True to end when everything that is there was inspected.
        stopped: Asked after each batch if the watch is to end; ``None`` for a watch that goes on.
        on_start: Called with the database's place once the watch has started.
        engine: As for ``EngineKeywords``.

    Yields:
        An outcome for each image, once it is stored.

    Raises:
        ImageError: There is no such folder.
        HistoryError: The database cannot be used.
        RunError: The folder is already watched with this database, or ``out`` is in use or cannot be written to.
        OSError: Pictures cannot be written; they are at the next start.
        ClipAdaError: As for ``Inspector.load``.
    """
    folder, out = Path(folder), None if out is None else Path(out)
    history, inspection = history or HistoryConfig(), inspection or PredictConfig()
    require_folder(folder)
    description = find_run(run)
    calibration, _ = load_calibration(description)
    with ExitStack() as resources:
        recorder = resources.enter_context(Recorder(calibration, history, sinks))
        resources.enter_context(hold_watch(recorder.history, folder))
        if out is not None:
            resources.enter_context(lock_folder(out))
        pictures = None if out is None else PictureFolder(out, folder)
        watched = FolderWatch(
            Inspector.load(description, threshold=inspection.threshold, input_check=inspection.input_check, **engine),
            recorder.history,
            folder,
            settings,
            excluded=[Path(history.images), *([] if out is None else [out])],
            batch_size=inspection.batch_size,
            workers=inspection.workers,
            before_store=(lambda _: None) if pictures is None else pictures.plan,
        )
        on_start(recorder.history.place)
        if pictures is not None:
            pictures.write(watched.again(pictures.left_over()))
        for results in watched.batches(once=once, stopped=stopped or _never):
            outcomes = [Outcome(result, verdict_record(result)) for result in results]
            yield from run_job(outcomes, _AlreadyStored(recorder))
            if pictures is not None:  # after all lines: an error costs none
                pictures.write(results)
        recorder.finish(flush=once)


def _never() -> bool:
    """Let a watch go on."""
    return False


class _AlreadyStored:
    """Recorder of outcomes that are already stored: ``FolderWatch`` stores them together with the files seen."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def record(self, outcome: Outcome) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Log drift after each batch: a watch has no end."""
        self._recorder.warn_of_drift()
