"""Building of a memory and its filter, product by product: rows, statistics, synthetic anomalies, training, scale."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config
from clipada.data import read_batches
from clipada.devices import to_tensor
from clipada.errors import DatasetError
from clipada.models.backbones import Reading
from clipada.models.clip_ada import GLANCE, ClipAda
from clipada.models.crops import Crops
from clipada.models.filter import Filter
from clipada.models.memory import PatchMemory
from clipada.models.memory_head import MemoryHead
from clipada.randomness import derived_generator, derived_rng
from clipada.scoring import final_map
from clipada.training.answers import Answers, NormalDistances, ProductRows, joined_answers, retrieval
from clipada.training.filter import ProductPool, fit_filter
from clipada.training.inputs import InputRecorder
from clipada.training.part_box import WHOLE, Box, part_box
from clipada.training.pool import disturbed, draw_pool
from clipada.training.tokens import TokenReader
from clipada.types import Localization, Progress, ProgressReport, Sample

log = logging.getLogger(__name__)

MOST_IMAGES = 500
"""Images of a product among whose patches rows are chosen, evenly spaced, which bounds the RAM."""

STATISTICS_IMAGES = 90
"""Images of a product whose answers, without their own rows, are the statistics of normal distances."""

DISTURBED_IMAGES = 48
"""Good images of a product in other light, other focus and another place, which the filter learns to call good."""

_AT_ONCE = 32
"""Images read at a time."""

_NO_MAPS = np.empty((0, 0, 0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class _Study:
    """The rows of one product at one size, and their answers for its own images.

    Attributes:
        rows: The rows.
        some: Positions of the images that were searched for without their own rows.
        normal: Their answers.
        logits: Their logits, ``(n, N)``.
        distances: Statistics of their answers.
        descriptors: Descriptors of all its images, ``(m, D)``.
        grid: Token grid ``(h, w)``.
    """

    rows: ProductRows
    some: Tensor
    normal: Answers
    logits: Tensor
    distances: NormalDistances
    descriptors: Tensor
    grid: tuple[int, int]

    def repeated(self, count: int) -> tuple[Tensor, Tensor]:
        """Return rows ``(L, M, W)`` and their usual distances ``(L, M)``, repeated to ``count`` rows."""
        times = -(-count // self.rows.rows.shape[1])
        return self.rows.rows.repeat(1, times, 1)[:, :count], self.distances.usual.repeat(1, times)[:, :count]


class MemoryBuilder:
    """Builds the detector over a memory of good parts.

    Attributes:
        inputs: The training images as the input check records them.
        peaks: Peaks of the maps of training images whose own rows are left out, by product.

    Args:
        model: The model whose backbone reads tokens, and whose logits the filter may see.
        config: All settings.
        reader: Tokens of images.
        workers: Threads that decode.
        report: Called after every step.
    """

    def __init__(
        self, model: ClipAda, config: Config, reader: TokenReader, workers: int, report: ProgressReport
    ) -> None:
        self.model = model.eval()
        self.config = config
        self.reader = reader
        self.workers = workers
        self.report = report
        self.inputs = InputRecorder()
        self.peaks: dict[str, list[float]] = {}
        self.blocks = len(model.backbone.blocks)
        with torch.inference_mode():
            self.text = model.text_vector()

    def build(self, samples: Sequence[Sample]) -> MemoryHead:
        """Build memory and filter from normal images.

        Raises:
            DatasetError: No image of a product can be read.
            RunError: The training of the filter diverged.
        """
        by_product: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_product[sample.category].append(sample)
        images = {name: self.read_images(name, members) for name, members in by_product.items()}

        filter_net, boxes = None, dict.fromkeys(images, WHOLE)
        if self.config.filter.images or self.config.memory.crop:
            small = {name: self.study(name, own, self.config.filter.scale) for name, own in images.items()}
            if self.config.memory.crop:
                boxes = {name: self.box(one, images[name]) for name, one in small.items()}
            if self.config.filter.images:
                filter_net = self.filter(small, images)

        grid = self.model.backbone.grid(self.config.model.size)
        crops = Crops(torch.tensor(list(boxes.values())), self.config.model.size, grid)
        views = {name: self.cut(own, crops, number) for number, (name, own) in enumerate(images.items())}
        studies = {name: self.study(name, view, 1.0) for name, view in views.items()}
        known = {name: study.descriptors for name, study in studies.items()}
        bank = self.bank(studies, self.centers(images, self.glances(images) if crops.any else known))
        memory = self.config.memory
        head = MemoryHead(bank, filter_net, crops, weight=memory.weight, share=memory.share)
        return self.scaled(head, studies)

    def read_images(self, name: str, samples: Sequence[Sample]) -> NDArray[np.uint8]:
        """Read the images of a product at the model's input size, ``(n, H, W, 3)``."""
        model = self.config.model
        chosen = samples[:: -(-len(samples) // MOST_IMAGES)]
        paths = [sample.path for sample in chosen]
        batches = read_batches(paths, model.size, _AT_ONCE, self.workers, depth=model.image_depth)
        found = [batch.images for batch in batches if batch.paths]
        if not found:
            raise DatasetError(f"no good image of {name} can be read", remedy="check the files")
        return np.concatenate(found)

    def study(self, name: str, images: NDArray[np.uint8], scale: float) -> _Study:
        """Choose the rows of a product at a size, and search them for some of its images without their own rows."""
        reading = self.read_tokens(images, scale, f"reading {name}")
        generator = derived_generator(self.config.training.seed, "memory rows", name)
        neighbors, patches = self.config.memory.neighbors, reading.patches.shape[0] * reading.patches.shape[1]
        count = -(-min(self.config.memory.rows, patches) // neighbors) * neighbors
        rows = ProductRows(self.units(reading.patches), self.blocks, count, self.config.memory, generator)
        some = torch.randperm(len(images), generator=generator)[:STATISTICS_IMAGES].sort().values
        normal = rows.search(reading.patches[some], some)
        return _Study(
            rows=rows,
            some=some,
            normal=normal,
            logits=self.logits(reading.patches[some]),
            distances=NormalDistances.of(normal, count),
            descriptors=reading.descriptors,
            grid=self.model.backbone.grid(self.model.backbone.scaled_size(images.shape[1:3], scale)),
        )

    def box(self, study: _Study, images: NDArray[np.uint8]) -> Box:
        """Find the box in which a product's images show the part."""
        return part_box(study.normal.distances[..., 0], images[study.some.numpy()], study.grid)

    def cut(self, images: NDArray[np.uint8], crops: Crops, number: int) -> NDArray[np.uint8]:
        """Cut the box of a product out of its images, at the input size."""
        if not crops.any:
            return images
        parts = []
        for start in range(0, len(images), _AT_ONCE):
            pixels = to_tensor(images[start : start + _AT_ONCE])
            products = torch.full((len(pixels),), number)
            parts.append((255 * crops.cut(pixels, products)).round().clamp(0, 255).to(torch.uint8))
        cut: NDArray[np.uint8] = torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()
        return cut

    def filter(self, studies: Mapping[str, _Study], images: Mapping[str, NDArray[np.uint8]]) -> Filter:
        """Train the filter on good images and synthetic anomalies of all products."""
        settings, seed = self.config.filter, self.config.training.seed
        first = derived_generator(seed, "filter")
        filter_net = Filter(self.blocks, self.config.memory.neighbors, settings.width, settings.logits, first)
        bank = self.bank(studies, torch.zeros(len(studies), 1))
        pools = []
        for number, (name, study) in enumerate(studies.items()):
            answers, logits, masks = self.draw(name, images, study)
            disturbed, disturbed_logits = self.disturb(name, images[name], study)
            normal = retrieval(bank, number, joined_answers([study.normal, disturbed]))
            pools.append(
                ProductPool(
                    anomalous=retrieval(bank, number, answers),
                    logits=logits,
                    masks=masks,
                    normal=normal,
                    normal_logits=torch.cat([study.logits, disturbed_logits]),
                    undisturbed=len(study.logits),
                    ratio=study.distances.mean / study.distances.std,
                )
            )
        grid = next(iter(studies.values())).grid
        fit_filter(filter_net, pools, grid, settings, derived_generator(seed, "filter batches"), self.report)
        return filter_net.requires_grad_(False)

    def draw(self, name: str, images: Mapping[str, NDArray[np.uint8]], study: _Study) -> tuple[Answers, Tensor, Tensor]:
        """Draw synthetic anomalies on a product's images and search its rows for them, without the image's own."""
        rng = derived_rng(self.config.training.seed, "anomalies", name)
        answers, logits, masks = [], [], []
        total = self.config.filter.images
        for drawn in draw_pool(images[name], images, total, study.grid, rng):
            tokens = self.reader.read(drawn.images, self.config.filter.scale).patches
            answers.append(study.rows.search(tokens, drawn.sources))
            logits.append(self.logits(tokens))
            masks.append(drawn.masks)
            done = sum(map(len, masks))
            self.report(Progress(stage=f"drawing anomalies on {name}", done=done, total=total))
        return joined_answers(answers), torch.cat(logits), torch.cat(masks)

    def disturb(self, name: str, images: NDArray[np.uint8], study: _Study) -> tuple[Answers, Tensor]:
        """Search a product's rows for disturbed good images, without the image's own."""
        rng = derived_rng(self.config.training.seed, "disturbed images", name)
        sources = torch.from_numpy(rng.integers(len(images), size=DISTURBED_IMAGES))
        drawn = np.stack([disturbed(images[source], rng) for source in sources])
        tokens = self.read_tokens(drawn, self.config.filter.scale, f"disturbing {name}").patches
        return study.rows.search(tokens, sources), self.logits(tokens)

    def glances(self, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, Tensor]:
        """Read the descriptors of each product's images at the size at which a product is found, ``(n, D)``."""
        return {name: self.read_tokens(own, GLANCE, f"reading {name}").descriptors for name, own in images.items()}

    def centers(self, images: Mapping[str, NDArray[np.uint8]], descriptors: Mapping[str, Tensor]) -> Tensor:
        """Return the mean descriptor of each product, ``(P, D)``, and record the images for the input check."""
        for name, own in images.items():
            self.inputs.add(name, own, Localization(maps=_NO_MAPS, descriptors=descriptors[name].numpy()))
        return torch.stack([F.normalize(descriptors[name].mean(dim=0), dim=-1) for name in images])

    def bank(self, studies: Mapping[str, _Study], centers: Tensor) -> PatchMemory:
        """Join the products' rows and statistics; a product with fewer rows than another repeats them."""
        most = max(study.rows.rows.shape[1] for study in studies.values())
        parts = [study.repeated(most) for study in studies.values()]
        rows, usual = (torch.stack(part, dim=1) for part in zip(*parts, strict=True))
        return PatchMemory(
            list(studies),
            rows=rows,
            usual=usual.half(),
            distance_mean=torch.stack([study.distances.mean for study in studies.values()], dim=1),
            distance_std=torch.stack([study.distances.std for study in studies.values()], dim=1),
            centers=centers,
            neighbors=self.config.memory.neighbors,
        )

    @torch.inference_mode()
    def scaled(self, head: MemoryHead, studies: Mapping[str, _Study]) -> MemoryHead:
        """Set the scale of the evidence by good images: what is far above them all becomes more than 1/2.

        It is linear from the evidence that only 1 % of their cells fall below, to three times the range up to the
        image score that 1 % of them exceed.
        """
        maps = {
            name: head.evidence(retrieval(head.bank, number, study.normal), study.logits, study.grid)
            for number, (name, study) in enumerate(studies.items())
        }
        low = float(np.quantile(torch.cat([one.flatten() for one in maps.values()]).numpy(), 0.01))
        high = float(np.quantile(torch.cat([head.pooled(one) for one in maps.values()]).numpy(), 0.99))
        scaled = head.scaled(low, max(3 * (high - low), 1e-3))
        for number, (name, evidence) in enumerate(maps.items()):
            raw = scaled.crops.paste(scaled.to_unit(evidence), torch.full((len(evidence),), number)).numpy()
            self.peaks[name] = [float(final_map(one[np.newaxis], self.config.scoring).max()) for one in raw]
        return scaled

    def read_tokens(self, images: NDArray[np.uint8], scale: float, stage: str) -> Reading:
        """Read the tokens of images at a scale; report after every batch."""
        found = []
        for start in range(0, len(images), _AT_ONCE):
            found.append(self.reader.read(images[start : start + _AT_ONCE], scale))
            self.report(Progress(stage=stage, done=min(len(images), start + _AT_ONCE), total=len(images)))
        return Reading(torch.cat([one.patches for one in found]), torch.cat([one.descriptors for one in found]))

    def units(self, patches: Tensor) -> Tensor:
        """Return tokens ``(n, N, L W)`` at unit length in each block."""
        blocks = patches.reshape(*patches.shape[:2], self.blocks, -1).float()
        return F.normalize(blocks, dim=-1).half().flatten(2)

    @torch.inference_mode()
    def logits(self, patches: Tensor) -> Tensor:
        """Compute the model's coarse logits of tokens ``(n, N, L W)``, ``(n, N)``."""
        device = self.text.device
        parts = [self.model.projections[0](part.float().to(device)) for part in torch.split(patches, _AT_ONCE)]
        return torch.cat([self.model.similarity(part, self.text).cpu() for part in parts])
