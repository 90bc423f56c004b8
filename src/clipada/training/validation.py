"""Validation on held-out normal images with synthetic anomalies: the basis for choosing settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipada.config import Config
from clipada.data import read_batches
from clipada.devices import to_tensor
from clipada.evaluation.metrics import CategoryMetrics, evaluate_maps
from clipada.images.alignment import Alignment
from clipada.images.roi import RegionsOfInterest
from clipada.models.clip_ada import ClipAda
from clipada.models.crops import inside_tensor
from clipada.randomness import derived_generator
from clipada.scoring import score_passes
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.views import read_views
from clipada.types import Map, Mask, Sample

ScoredDraw = tuple[str, Mask, tuple[Map, ...], tuple[float, ...]]
"""Category, mask, and per pass anomaly map and image score of one draw."""

ROUNDS = 4
"""Number of synthetic draws of each held-out view."""

MOST_VIEWS = 100
"""Views of held-out images of a category, of which half are tiles or more, where images are cut into tiles."""


def validate(
    model: ClipAda,
    samples: Sequence[Sample],
    config: Config,
    workers: int,
    regions: RegionsOfInterest | None = None,
    alignment: Alignment | None = None,
) -> dict[str, dict[str, CategoryMetrics]]:
    """Score held-out images with synthetic anomalies, drawn the same for every setting with the same seed.

    With tiles, anomalies are drawn on the views of the images that a run reads, and each view is scored.

    Args:
        model: A trained model.
        samples: Held-out normal images.
        config: All settings.
        workers: Threads that decode images.
        regions: Regions of interest, outside of which no anomaly is drawn.
        alignment: Alignment of the run; images that do not fit are left out.

    Returns:
        Metrics by category for each pass (``"0"`` is the coarse one), and for ``"mean"`` if the mean of all counts.
    """
    reading = _Reading(config=config, workers=workers, regions=regions, alignment=alignment)
    records = list(_score(model.eval(), samples, reading))
    categories = list(dict.fromkeys(sample.category for sample in samples))
    views = [*map(str, range(model.passes)), "mean"][: len(records[0][2])]
    return {
        name: {category: _metrics([r for r in records if r[0] == category], index) for category in categories}
        for index, name in enumerate(views)
    }


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Settings, threads that decode, regions of interest and alignment, by which images are read."""

    config: Config
    workers: int
    regions: RegionsOfInterest | None
    alignment: Alignment | None


@dataclass(frozen=True, kw_only=True)
class _Views:
    """Views of held-out images: whole images, and the tiles that a run reads.

    Attributes:
        images: ``(b, 3, H, W)``, 0..1.
        members: Category of each.
        inside: Regions of interest, ``(b, H, W)`` bool; ``None`` if all of each counts.
        products: Number of the product whose memory tiles are searched in, -1 for whole images, ``(b,)``; ``None``
            without tiles.
    """

    images: Tensor
    members: Sequence[str]
    inside: Tensor | None
    products: Tensor | None = None


def _score(model: ClipAda, samples: Sequence[Sample], reading: _Reading) -> Iterator[ScoredDraw]:
    """Yield every draw, scored."""
    config = reading.config
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    device = next(model.parameters()).device
    with torch.inference_mode():
        text = model.text_vector()
    products = () if model.head is None else model.head.products
    rounds = _tiles if config.inspection.tiled else _whole
    for draw, index, views in rounds(samples, reading, products):
        images, masks = synthesizer(views.images, derived_generator(config.training.seed, "validation", draw, index))
        inside = views.inside
        if inside is not None:
            shown = inside.unsqueeze(1)
            images, masks = torch.where(shown, images, views.images), masks * shown
        known = (None, None) if views.products is None else (views.products, inside)
        with torch.inference_mode():
            found = model.run(images.to(device), text, *(None if one is None else one.to(device) for one in known))
            maps = found.maps(images.shape[-2:]).cpu().numpy()
        for place, member in enumerate(views.members):
            mask: Mask = masks[place, 0].numpy() > 0
            own = None if found.detection is None else float(found.detection.scores[place])
            seen = None if inside is None else inside[place].numpy()
            yield (member, mask, *score_passes(maps[:, place], config.scoring, own, inside=seen))


def _whole(samples: Sequence[Sample], reading: _Reading, _: Sequence[str]) -> Iterator[tuple[int, int, _Views]]:
    """Yield the number of each draw, that of a batch, and its images."""
    config, categories = reading.config, {sample.path: sample.category for sample in samples}
    size, together, rules = config.model.size, config.training.batch_size, config.model.rules
    align = None if reading.alignment is None else reading.alignment.aligner_of(categories)
    for draw in range(ROUNDS):
        batches = read_batches(categories, size, together, reading.workers, rules=rules, align=align)
        for index, batch in enumerate(batches):
            members = [categories[path] for path in batch.paths]
            inside = inside_tensor(reading.regions, members, size)
            yield draw, index, _Views(images=to_tensor(batch.images), members=members, inside=inside)


def _tiles(samples: Sequence[Sample], reading: _Reading, products: Sequence[str]) -> Iterator[tuple[int, int, _Views]]:
    """Yield the number of each draw, that of a batch, and its whole images and tiles of one category."""
    index, config = 0, reading.config
    for name in dict.fromkeys(sample.category for sample in samples):
        paths = [sample.path for sample in samples if sample.category == name]
        align = None if reading.alignment is None else reading.alignment.aligner(name)
        found = read_views(name, paths, config, reading.workers, reading.regions, MOST_VIEWS, align)
        for places in torch.split(torch.arange(len(found.images)), config.training.batch_size):
            views = _Views(
                images=to_tensor(found.images[places.numpy()]),
                members=[name] * len(places),
                inside=None if found.regions is None else found.regions.at(places).pixels,
                products=torch.where(places < len(found.paths), -1, list(products).index(name)),
            )
            yield from ((draw, index, views) for draw in range(ROUNDS))
            index += 1


def _metrics(records: Sequence[ScoredDraw], index: int) -> CategoryMetrics:
    masks = [mask for _, mask, _, _ in records]
    maps = np.stack([maps[index] for _, _, maps, _ in records])
    scores = np.array([scores[index] for *_, scores in records])
    return evaluate_maps(scores, np.array([mask.any() for mask in masks]), maps, masks)
