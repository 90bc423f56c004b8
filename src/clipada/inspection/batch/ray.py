"""The same on a cluster: Ray Data hands out the images, each of its actors inspects with a run loaded once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipada.calibration import DriftMonitor, read_calibration
from clipada.config import EngineOptions, PredictConfig
from clipada.errors import ClipAdaError, ConfigError
from clipada.files import made_folder
from clipada.inspection import Inspector
from clipada.inspection.batch.job import find_sources, warn_of_drift
from clipada.inspection.batch.journal import Journal
from clipada.inspection.batch.pipeline import outcomes
from clipada.inspection.batch.sources import Source
from clipada.inspection.record import Record
from clipada.runs import CALIBRATION, read_run

if TYPE_CHECKING:
    import pyarrow

BATCHES_A_TASK = 16
"""Batches that an actor is handed at a time, so that decoding, inference and writing overlap there too."""

IMAGES_AT_ONCE = 100_000
"""Images that Ray is told of at a time, so that memory stays bounded; then the actors start anew."""


def predict_on_ray(
    run: Path | str,
    images: Path | str | Iterable[Path | str],
    out: Path | str,
    settings: PredictConfig | None = None,
    *,
    backbone: str | None = None,
    engine: EngineOptions | None = None,
) -> Iterator[Record]:
    """Inspect images as ``predict`` does, on Ray: on the cluster that ``RAY_ADDRESS`` names, else on this machine.

    Run, images and ``out`` must lie at the same paths on every machine. One actor takes ``engine.threads`` cores (1
    unless set) or, where torch finds any in the cluster, one GPU; the run is loaded once in each.

    Yields:
        What ``predict`` writes into a JSON line, in order, once it and the pictures are on the disk.

    Raises:
        ImageError: A path does not exist, or no image is found.
        RunError: The run folder is not whole, ``out`` cannot be written to, or what lies there is of another model.
        ModuleNotFoundError: Ray is not installed.
    """
    import pyarrow  # noqa: F401 - missing, it is told before any work
    import ray.data  # noqa: F401

    settings, engine = settings or PredictConfig(), engine or EngineOptions()
    sources = find_sources(images, out, settings)
    description = read_run(Path(run))
    folder = made_folder(Path(out).absolute())
    path = description.folder / CALIBRATION
    monitor = DriftMonitor(read_calibration(path)) if path.exists() else None
    journal = Journal(folder, settings.shard, skip_done=settings.skip_done)
    asked = {
        "run": description.folder.absolute(),
        "here": Path.cwd(),
        "out": folder,
        "settings": settings,
        "backbone": backbone,
        "engine": engine,
    }

    def records() -> Iterator[Record]:
        with journal, _started():
            todo = (source for source in sources if not journal.is_done(source.path))
            for some in _chunks(todo, IMAGES_AT_ONCE):
                for record in _inspected(some, asked):
                    journal.append(record)
                    if monitor is not None and record.get("calibration"):
                        monitor.add(record["score"], record["group"])
                    yield record
            journal.finish()
        if monitor is not None:
            warn_of_drift(monitor)

    return records()


class Actor:
    """Inspects and writes on one machine of the cluster.

    Args:
        run: The run folder.
        here: The folder that relative paths start from.
        out: The folder for pictures.
        settings: How to inspect.
        backbone: Where the backbone lies.
        engine: What looks.
    """

    def __init__(
        self, run: Path, here: Path, out: Path, settings: PredictConfig, backbone: str | None, engine: EngineOptions
    ) -> None:
        self._here, self._out, self._settings = here, out, settings
        self._load = partial(Inspector.load, run, backbone=backbone, engine=engine, threshold=settings.threshold)
        self._inspector: Inspector | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """From columns ``path`` and ``name``, bytes as the file system has them, to the column ``line``."""
        import pyarrow as pa

        paths, names = ([os.fsdecode(value) for value in table[name].to_pylist()] for name in ("path", "name"))
        sources = (Source(self._here / path, name) for path, name in zip(paths, names, strict=True))
        if self._inspector is None:  # not in __init__: Ray tries that again and again, and hides what was raised
            self._inspector = self._load()
        found = outcomes(self._inspector, sources, self._out, self._settings)
        lines = [json.dumps(outcome.record | {"path": path}) for path, outcome in zip(paths, found, strict=True)]
        return pa.table({"line": lines})


def _inspected(sources: Iterable[Source], asked: dict[str, Any]) -> Iterator[Record]:
    """The records of some images, in order."""
    import pyarrow as pa
    import ray

    settings, engine = asked["settings"], asked["engine"]
    blocks = [
        pa.table(
            {
                "path": [os.fsencode(source.path) for source in some],
                "name": [os.fsencode(source.name) for source in some],
            }
        )
        for some in _chunks(sources, BATCHES_A_TASK * settings.batch_size)
    ]
    needs, actors = _resources(engine, len(blocks))
    data = ray.data.from_arrow(blocks).map_batches(
        Actor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs=asked | {"engine": _within(engine)},
        concurrency=(1, actors),
        **needs,
    )
    data.context.execution_options.preserve_order = True
    data.context.raise_original_map_exception = True
    data.context.enable_progress_bars = False
    try:
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from map(json.loads, batch["line"].to_pylist())
    except Exception as error:
        cause = getattr(error, "cause", None)
        raise cause if isinstance(cause, ClipAdaError | ModuleNotFoundError) else error from None


def _resources(engine: EngineOptions, blocks: int) -> tuple[dict[str, float], int]:
    """What one actor takes, and how many actors there may be."""
    import ray

    cluster = ray.cluster_resources()
    cuda = engine.device.startswith(("cuda", "tensorrt")) or (
        engine.device == "auto" and engine.name in (None, "torch")
    )
    need, kind = (1, "GPU") if cuda and cluster.get("GPU") else (engine.threads or 1, "CPU")
    available = int(cluster.get(kind, 0) // need)
    if not available:
        raise ConfigError(
            "no machine of the cluster can hold an actor",
            expected=f"{need} {kind}",
            got=f"{cluster.get(kind, 0):g} in all",
            remedy="pass fewer --threads",
        )
    return {f"num_{kind.lower()}s": need}, min(available, blocks)


def _within(engine: EngineOptions) -> EngineOptions:
    """The engine, an export's runtime kept to the cores of its actor; torch keeps to them by itself."""
    return replace(engine, threads=engine.threads or 1) if engine.name in ("onnx", "openvino") else engine


@contextmanager
def _started() -> Iterator[None]:
    """Ray, joined or started; what was started here is stopped in the end."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone outside
    ray.init(logging_level=logging.WARNING, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


def _chunks(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Consecutive sources, ``size`` at a time."""
    rest = iter(sources)
    return iter(lambda: list(islice(rest, size)), [])
