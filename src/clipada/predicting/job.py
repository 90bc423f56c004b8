"""The command ``predict`` as functions."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

from clipada.calibration import DriftMonitor
from clipada.config import EngineConfig, EngineName, EnginePrecision, PredictConfig
from clipada.errors import ConfigError
from clipada.files import made_folder
from clipada.inspector import Inspector
from clipada.predicting.journal import Journal
from clipada.predicting.pipeline import outcomes
from clipada.predicting.records import Outcome, Record, is_picture
from clipada.predicting.sources import Source, Sources
from clipada.types import Failure, Verdict

log = logging.getLogger(__name__)


def predict(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: PredictConfig | None = None,
    *,
    backbone: str | None = None,
    engine: EngineName | EngineConfig | None = None,
    device: str = "auto",
    precision: EnginePrecision | None = None,
) -> Iterator[Verdict | Failure]:
    """Inspect a file or a folder of images, or some of each, while the results are taken.

    With ``out``, each image's overlay (``NAME.overlay.png``) and 16-bit anomaly map (``NAME.map.png``, value / 65535,
    in its own geometry) are written there, its JSON line into ``predictions.partial.jsonl``, which at the end becomes
    ``predictions.jsonl``. Such pictures of an earlier time are not inspected. With a calibration, drift among the
    images is warned of at the end.

    Yields:
        A verdict per image in order; a failure for a file that cannot be read.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is not whole, ``out`` cannot be written to, or what lies there is of another model.
        BackboneError: The backbone is missing or another one.
        CalibrationError: The run's ``calibration.json`` is damaged or of another model.
        ConfigError: A setting is out of range, or to go on is asked without ``out``.
    """
    settings = settings or PredictConfig()
    sources = find_sources(images, out, settings)
    inspector = Inspector.load(
        run, backbone=backbone, engine=engine, device=device, precision=precision, threshold=settings.threshold
    )
    return _results(Job(inspector, sources, out, settings).run())


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


def _results(outcomes: Generator[Outcome, None, None]) -> Iterator[Verdict | Failure]:
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome.result
