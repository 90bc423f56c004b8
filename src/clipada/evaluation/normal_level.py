"""Level of the maps of normal images, by which pictures are colored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clipada.config import BatchConfig, ScoringConfig
from clipada.config.image_rules import rules_of
from clipada.data import read_batches
from clipada.images.roi import seen_inside
from clipada.scoring import final_map
from clipada.types import Engine, ImageEngine, LocalizedImage, Sample, localize_images, require_localized

OnBatch = Callable[[str, NDArray[np.uint8], Sequence[LocalizedImage]], None]
"""Called with a category, images at the model's input size, and what the engine has found in each."""


def normal_peaks(
    engine: Engine,
    samples: Sequence[Sample],
    scoring: ScoringConfig,
    workers: int = BatchConfig.workers,
    on_batch: OnBatch = lambda *_: None,
) -> dict[str, list[float]]:
    """Return the peaks of normal images' anomaly maps, by category: see ``normal_level``.

    Args:
        engine: Engine that computes the raw maps.
        samples: Normal images. About 200, evenly spaced, are scored, but at least 20 per category where it has so many.
        scoring: How maps are smoothed.
        workers: Threads that decode.
        on_batch: Called with the category, the images ``(B, H, W, 3)`` and the engine's output of each batch.
    """
    by_category: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_category[sample.category].append(sample)
    share = max(20, 200 // len(by_category))
    return {
        category: list(
            _peaks(engine, members[:: -(-len(members) // share)], scoring, workers, partial(on_batch, category))
        )
        for category, members in by_category.items()
    }


def normal_level(peaks: Sequence[float]) -> float:
    """Return the map value that the peaks of 95 % of normal images do not exceed; 1/2 without images.

    It scales colors in pictures. It is not a calibrated threshold: the model may have been trained on these images.

    Returns:
        0..1.
    """
    return float(np.quantile(peaks, 0.95)) if len(peaks) else 0.5


def _peaks(
    engine: Engine,
    samples: Sequence[Sample],
    scoring: ScoringConfig,
    workers: int,
    on_batch: Callable[[NDArray[np.uint8], Sequence[LocalizedImage]], None],
) -> Iterator[float]:
    paths, originals = [sample.path for sample in samples], isinstance(engine, ImageEngine)
    batches = read_batches(
        paths, engine.size, BatchConfig.batch_size, workers, rules=rules_of(engine), keep_originals=originals
    )
    for batch in batches:
        if batch.paths:
            found = list(map(require_localized, localize_images(engine, batch.images, batch.originals)))
            on_batch(batch.images, found)
            for one, position in zip(found, batch.positions, strict=True):
                inside = seen_inside(engine, one, samples[position].category)(one.size)
                yield float(final_map(one.maps, scoring, one.view, inside).max())
