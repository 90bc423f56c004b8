"""Training of the filter on what a memory answers for good images and synthetic anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.models.crops import inside_tensor
from clipada.models.filter import Filter
from clipada.models.memory import PatchMemory
from clipada.randomness import derived_generator, derived_rng
from clipada.training.answers import Answers, joined_answers, retrieval
from clipada.training.filter import ProductPool, fit_filter
from clipada.training.pool import disturbed, draw_pool
from clipada.training.study import Study, joined_memory
from clipada.training.view_regions import ViewRegions
from clipada.types import Progress

if TYPE_CHECKING:
    from clipada.training.memory import MemoryBuilder

DISTURBED_IMAGES = 48
"""Good images of a product in other light, other focus and another place, which the filter learns to call good."""


class _Searched(NamedTuple):
    """Images of a product, searched in its rows without the image's own.

    Attributes:
        answers: The answers.
        logits: CLIP-ADA's logits, ``(n, N)``.
        shown: The tokens that show any of the region of interest, ``(n, N)`` bool; ``None`` if all of it counts.
    """

    answers: Answers
    logits: Tensor
    shown: Tensor | None


class FilterTrainer:
    """Trains the filter of a memory.

    Args:
        builder: The builder of the memory, which reads images.
        images: The views of each product, ``(m, H, W, 3)``.
        studies: Their studies at the size at which the filter learns.
    """

    def __init__(
        self, builder: MemoryBuilder, images: Mapping[str, NDArray[np.uint8]], studies: Mapping[str, Study]
    ) -> None:
        self.builder = builder
        self.config = builder.config
        self.images = images
        self.studies = studies

    def train(self) -> Filter:
        """Train the filter on good images and synthetic anomalies of all products with enough images."""
        settings, seed, neighbors = self.config.filter, self.config.training.seed, self.config.memory.neighbors
        generator = derived_generator(seed, "filter")
        filter_net = Filter(self.builder.student.blocks, neighbors, settings.width, settings.logits, generator)
        grid = next(iter(self.studies.values())).grid
        inside = inside_tensor(self.builder.regions, list(self.studies), self.config.model.size)
        bank = joined_memory(self.studies, torch.zeros(len(self.studies), 1), neighbors, inside=inside)
        pools = [
            self.pool(bank, number, name)
            for number, name in enumerate(self.studies)
            if name in self.builder.record.filtered
        ]
        fit_filter(filter_net, pools, grid, settings, derived_generator(seed, "filter batches"), self.builder.report)
        return filter_net.requires_grad_(False)

    def pool(self, bank: PatchMemory, number: int, name: str) -> ProductPool:
        """Return what the filter learns from a product."""
        study = self.studies[name]
        drawn, masks = self.draw(name, study)
        disturbed = self.disturb(name, study)
        shown = None
        if study.shown is not None and disturbed.shown is not None:
            shown = torch.cat([study.shown, disturbed.shown])
        return ProductPool(
            anomalous=retrieval(bank, number, drawn.answers, drawn.shown),
            logits=drawn.logits,
            masks=masks,
            normal=retrieval(bank, number, joined_answers([study.normal, disturbed.answers]), shown),
            normal_logits=torch.cat([study.logits, disturbed.logits]),
            undisturbed=len(study.logits),
            ratio=study.distances.mean / study.distances.std,
        )

    def draw(self, name: str, study: Study) -> tuple[_Searched, Tensor]:
        """Draw synthetic anomalies on a product's images; return also their masks, as in ``DrawnImages``."""
        rng, total = derived_rng(self.config.training.seed, "anomalies", name), self.config.filter.images
        views, student = self.builder.views[name], self.builder.student
        answers, logits, masks, sources = [], [], [], []
        for drawn in draw_pool(self.images[name], self.images, total, study.grid, rng, views.regions):
            tokens = self.builder.reader.read(drawn.images, self.config.filter.scale).patches
            answers.append(study.rows.search(tokens, views.sources[drawn.sources]))
            logits.append(student.logits(tokens))
            masks.append(drawn.masks)
            sources.append(drawn.sources)
            stage = f"drawing anomalies on {name}"
            self.builder.report(Progress(stage=stage, done=sum(map(len, masks)), total=total))
        shown = None if views.regions is None else views.regions.at(torch.cat(sources)).tokens(study.grid)
        return _Searched(joined_answers(answers), torch.cat(logits), shown), torch.cat(masks)

    def disturb(self, name: str, study: Study) -> _Searched:
        """Search a product's rows for disturbed good images and perturbed copies."""
        images, views, student = self.images[name], self.builder.views[name], self.builder.student
        rng = derived_rng(self.config.training.seed, "disturbed images", name)
        places = torch.from_numpy(rng.integers(len(images), size=DISTURBED_IMAGES))
        drawn, sources = np.stack([disturbed(images[place], rng) for place in places.tolist()]), views.sources[places]
        regions = None if views.regions is None else views.regions.at(places)
        if (copies := self.builder.perturbed.get(name)) is not None:
            drawn, sources = np.concatenate([drawn, copies.images]), torch.cat([sources, copies.sources])
            others = copies.regions or ViewRegions.of_all(self.builder.inside(name), len(copies.images))
            regions = None if regions is None or others is None else regions.joined(others)
        tokens = student.read(drawn, self.config.filter.scale, f"disturbing {name}").patches
        shown = None if regions is None else regions.tokens(study.grid)
        return _Searched(study.rows.search(tokens, sources), student.logits(tokens), shown)
