"""Inspection on a cluster: Ray Data hands out the images, each of its actors inspects with a run loaded once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.config import EngineOptions, PredictConfig
from clipada.errors import ClipAdaError, ConfigError
from clipada.inspection import Inspector
from clipada.inspection.batch.pipeline import Outcome, outcomes
from clipada.inspection.batch.sources import Source
from clipada.inspection.record import Record

if TYPE_CHECKING:
    import pyarrow

BATCHES_A_TASK = 16
"""Batches in one task of an actor, so that decoding, inference and writing overlap there too."""

IMAGES_AT_ONCE = 100_000
"""Images submitted to Ray at a time, so that memory stays bounded; then the actors start again."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """Arguments of every actor; run, images and ``out`` must have the same paths on every machine.

    Attributes:
        run: The absolute path of the run folder, or the run's name on the hub.
        here: The folder that relative paths start from.
        out: The folder for pictures.
        settings: Batches, workers and threshold.
        engine: Engine, precision, device and threads.
    """

    run: Path | str
    here: Path
    out: Path
    settings: PredictConfig
    engine: EngineOptions


def require_ray() -> None:
    """Raise ``ModuleNotFoundError`` before any work if Ray is not installed."""
    import pyarrow  # noqa: F401
    import ray.data  # noqa: F401


def inspect_on_ray(sources: Iterable[Source], job: RayJob) -> Iterator[Outcome]:
    """Inspect images on the cluster that ``RAY_ADDRESS`` names, else on this machine with Ray.

    One actor takes ``engine.threads`` cores (1 unless set) or, if torch finds any in the cluster, one GPU; each loads
    the run once.

    Yields:
        An outcome for each image in order, without its verdict: only the record is sent back.
    """
    with _started():
        for some in _chunks(sources, IMAGES_AT_ONCE):
            yield from (Outcome(None, record) for record in _inspected(some, job))


class Actor:
    """Inspects and writes on one machine of the cluster."""

    def __init__(self, job: RayJob) -> None:
        self._job = job
        self._inspector: Inspector | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Turn columns ``path`` and ``name``, bytes as the file system has them, into the column ``line``."""
        import pyarrow as pa

        paths, names = ([os.fsdecode(value) for value in table[name].to_pylist()] for name in ("path", "name"))
        sources = (Source(self._job.here / path, name) for path, name in zip(paths, names, strict=True))
        if self._inspector is None:  # not in __init__: Ray retries that without end, and hides what was raised
            settings = self._job.settings
            self._inspector = Inspector.load(
                self._job.run,
                engine=self._job.engine,
                threshold=settings.threshold,
                input_check=settings.input_check,
            )
        found = outcomes(self._inspector, sources, self._job.out, self._job.settings)
        lines = [json.dumps(outcome.record | {"path": path}) for path, outcome in zip(paths, found, strict=True)]
        return pa.table({"line": lines})


def _inspected(sources: Iterable[Source], job: RayJob) -> Iterator[Record]:
    """Yield the records of some images in order."""
    import pyarrow as pa
    import ray

    blocks = [
        pa.table(
            {
                "path": [os.fsencode(source.path) for source in some],
                "name": [os.fsencode(source.name) for source in some],
            }
        )
        for some in _chunks(sources, BATCHES_A_TASK * job.settings.batch_size)
    ]
    needs, actors = _resources(job.engine, len(blocks))
    data = ray.data.from_arrow(blocks).map_batches(
        Actor,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_kwargs={"job": replace(job, engine=_within(job.engine))},
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
    """Return the resources of one actor, and how many actors fit into the cluster."""
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
    """Limit an export's runtime to the cores of its actor; torch limits itself."""
    return replace(engine, threads=engine.threads or 1) if engine.name in ("onnx", "openvino") else engine


@contextmanager
def _started() -> Iterator[None]:
    """Join or start Ray; stop in the end what was started here."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no statistics are sent anywhere
    ray.init(logging_level=logging.WARNING, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


def _chunks(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Cut sources into lists of ``size``."""
    rest = iter(sources)
    return iter(lambda: list(islice(rest, size)), [])
