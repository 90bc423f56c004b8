"""The command ``predict`` as functions."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from clipada.calibration import DriftMonitor
from clipada.config import PredictConfig
from clipada.errors import ConfigError
from clipada.files import made_folder
from clipada.inspection import Inspector
from clipada.inspection.batch.journal import Journal
from clipada.inspection.batch.pipeline import Outcome, outcomes
from clipada.inspection.batch.sources import Source, Sources
from clipada.inspection.pictures import is_picture
from clipada.inspection.record import Record
from clipada.types import Verdict

log = logging.getLogger(__name__)


class Job:
    """Images to be inspected with a run, and where it is written.

    Args:
        inspector: The run, loaded.
        sources: The images.
        out: The folder for pictures and JSON lines, if any.
        settings: How.

    Raises:
        RunError: ``out`` cannot be written to, or what lies there is unfinished or of another model.
    """

    def __init__(self, inspector: Inspector, sources: Sources, out: Path | str | None, settings: PredictConfig) -> None:
        self.inspector = inspector
        self.sources = sources
        self.settings = settings
        self.out = None if out is None else made_folder(Path(out))
        self.journal = begin_journal(self.out, settings, _basis(inspector))

    def todo(self) -> Iterator[Source]:
        """The images without a verdict of an earlier time."""
        journal = self.journal
        return (source for source in self.sources if journal is None or not journal.is_done(source.path))

    def run(self, *, watch_drift: bool = True) -> Generator[Outcome, None, None]:
        """Inspect them, one outcome each, in order; what is handed out is on the disk.

        Args:
            watch_drift: Whether to warn in the end of drift among them.
        """
        calibration = self.inspector.calibration if watch_drift else None
        monitor = None if calibration is None else DriftMonitor(calibration)
        with self.journal or nullcontext():
            for outcome in outcomes(self.inspector, self.todo(), self.out, self.settings):
                if self.journal is not None:
                    self.journal.append(outcome.record)
                if monitor is not None and isinstance(outcome.result, Verdict):
                    monitor.watch(outcome.result)
                yield outcome
            if self.journal is not None:
                self.journal.finish()
        if monitor is not None:
            warn_of_drift(monitor)


def find_sources(images: Path | str | Iterable[Path | str], out: Path | str | None, settings: PredictConfig) -> Sources:
    """The images to be inspected; with ``out``, pictures of an earlier time are none.

    Raises:
        ImageError: A path does not exist, or no image is found.
    """
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    return Sources(given, settings.shard, is_picture if out is not None else lambda _: False)


def begin_journal(out: Path | None, settings: PredictConfig, basis: Record) -> Journal | None:
    """The file for the JSON lines in ``out``, of verdicts that rest on what ``basis`` does.

    Raises:
        ConfigError: There is no ``out`` to go on in.
        RunError: What lies there is unfinished, damaged or rests on something else.
    """
    if out is None:
        if settings.skip_done:
            raise ConfigError("there is nothing to go on with", got="no --out", remedy="pass the --out it was begun in")
        return None
    return Journal(out, settings.shard, skip_done=settings.skip_done, basis=basis)


def warn_of_drift(monitor: DriftMonitor) -> None:
    """Say in the log what drifts."""
    for report in monitor.drifting():
        log.warning(report.describe())


def _basis(inspector: Inspector) -> dict[str, object]:
    """What the inspector's verdicts on images of no group rest on, as in a record."""
    return {
        "model": None if inspector.model is None else asdict(inspector.model),
        "calibration": None if inspector.calibration is None else inspector.calibration.id,
        "group": None,
        "threshold": inspector.region_level(None),
    }
