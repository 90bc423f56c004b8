"""Validation on held-out normal images with synthetic anomalies: the basis for choosing settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from clipada.config import Config
from clipada.data import read_batches
from clipada.devices import to_tensor
from clipada.evaluation.metrics import CategoryMetrics, evaluate_maps
from clipada.images.roi import RegionsOfInterest
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import inside_tensor
from clipada.randomness import derived_generator
from clipada.scoring import score_passes
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.types import Map, Mask, Sample

ScoredDraw = tuple[str, Mask, tuple[Map, ...], tuple[float, ...]]
"""Category, mask, and per pass anomaly map and image score of one draw."""

ROUNDS = 4
"""Number of synthetic draws of each held-out image."""


def validate(
    model: ClipAda,
    samples: Sequence[Sample],
    config: Config,
    workers: int,
    regions: RegionsOfInterest | None = None,
) -> dict[str, dict[str, CategoryMetrics]]:
    """Score held-out images with synthetic anomalies, drawn the same for every setting with the same seed.

    Args:
        model: A trained model.
        samples: Held-out normal images.
        config: All settings.
        workers: Threads that decode images.
        regions: Regions of interest, outside of which no anomaly is drawn.

    Returns:
        Metrics by category for each pass (``"0"`` is the coarse one), and for ``"mean"`` if the mean of all counts.
    """
    records = list(_score(model.eval(), samples, config, workers, regions))
    categories = list(dict.fromkeys(sample.category for sample in samples))
    views = [*map(str, range(model.passes)), "mean"][: len(records[0][2])]
    return {
        name: {category: _metrics([r for r in records if r[0] == category], index) for category in categories}
        for index, name in enumerate(views)
    }


def _score(
    model: ClipAda, samples: Sequence[Sample], config: Config, workers: int, regions: RegionsOfInterest | None
) -> Iterator[ScoredDraw]:
    """Yield every draw, scored."""
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    device = next(model.parameters()).device
    paths, rules = [sample.path for sample in samples], config.model.rules
    with torch.inference_mode():
        text = model.text_vector()
    for draw in range(ROUNDS):
        batches = read_batches(paths, config.model.size, config.training.batch_size, workers, rules=rules)
        for index, batch in enumerate(batches):
            generator = derived_generator(config.training.seed, "validation", draw, index)
            clean = to_tensor(batch.images)
            images, masks = synthesizer(clean, generator)
            members = [samples[position].category for position in batch.positions]
            inside = inside_tensor(regions, members, config.model.size)
            if inside is not None:
                shown = inside.unsqueeze(1)
                images, masks = torch.where(shown, images, clean), masks * shown
            with torch.inference_mode():
                found = model.run(images.to(device), text)
                maps = found.maps(images.shape[-2:]).cpu().numpy()
            for i, position in enumerate(batch.positions):
                mask: Mask = masks[i, 0].numpy() > 0
                own = None if found.detection is None else float(found.detection.scores[i])
                yield (
                    samples[position].category,
                    mask,
                    *score_passes(
                        maps[:, i], config.scoring, own, inside=None if inside is None else inside[i].numpy()
                    ),
                )


def _metrics(records: Sequence[ScoredDraw], index: int) -> CategoryMetrics:
    masks = [mask for _, mask, _, _ in records]
    maps = np.stack([maps[index] for _, _, maps, _ in records])
    scores = np.array([scores[index] for *_, scores in records])
    return evaluate_maps(scores, np.array([mask.any() for mask in masks]), maps, masks)
