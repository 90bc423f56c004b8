"""Inspect images with a run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from clipada.config import EngineName, EngineOptions, EnginePrecision, PredictConfig
from clipada.inspection import Inspector
from clipada.inspection.batch import Job, find_sources
from clipada.inspection.batch.pipeline import Outcome
from clipada.types import Failure, Verdict


def predict(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str | None = None,
    settings: PredictConfig | None = None,
    *,
    backbone: str | None = None,
    engine: EngineName | EngineOptions | None = None,
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


def _results(outcomes: Generator[Outcome, None, None]) -> Iterator[Verdict | Failure]:
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome.result
