"""Inference: images through the engine, of files one batch ahead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from clipada.config.image_rules import rules_of
from clipada.data import Batch, read_batches
from clipada.errors import ImageError
from clipada.inspection.reading import Groups, ReadImage
from clipada.types import Engine, LocalizedImage, localize_images

Inference = Future[tuple[list[LocalizedImage | ImageError], float]]
"""Future output of the engine for a batch, and the seconds that it took."""


def inferred_batches(
    engine: Engine, paths: Iterable[Path], batch_size: int, workers: int
) -> Iterator[tuple[Batch, Inference]]:
    """Yield each batch of files with its future output; the next batch is submitted before one is handed out."""
    before: tuple[Batch, Inference] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="clipada-infer") as pool:
        for batch in read_batches(paths, engine.size, batch_size, workers, rules=rules_of(engine), keep_originals=True):
            now = batch, pool.submit(_infer, engine, batch)
            if before is not None:
                yield before
            before = now
        if before is not None:
            yield before


def localized(engine: Engine, reads: Sequence[ReadImage], groups: Groups) -> list[LocalizedImage | ImageError]:
    """Run an engine on images that were read, whose groups may name their products."""
    if not reads:
        return []
    return localize_images(engine, np.stack([one.small for one in reads]), [one.image for one in reads], groups)


def _infer(engine: Engine, batch: Batch) -> tuple[list[LocalizedImage | ImageError], float]:
    """Run the engine on a batch; return its output and the seconds that it took."""
    started = time.perf_counter()
    return localize_images(engine, batch.images, batch.originals), time.perf_counter() - started
