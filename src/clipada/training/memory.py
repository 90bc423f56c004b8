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
from clipada.errors import DatasetError
from clipada.models.backbones import Reading
from clipada.models.clip_ada import ClipAda, upsample
from clipada.models.filter import Filter
from clipada.models.memory import PatchMemory, Retrieval
from clipada.models.memory_head import MemoryHead
from clipada.randomness import derived_generator, derived_rng
from clipada.scoring import final_map
from clipada.training.answers import Answers, NormalDistances, ProductRows
from clipada.training.filter import ProductPool, fit_filter
from clipada.training.inputs import InputRecorder
from clipada.training.pool import draw_pool
from clipada.training.tokens import TokenReader
from clipada.types import Localization, Progress, ProgressReport, Sample

log = logging.getLogger(__name__)

MOST_IMAGES = 500
"""Images of a product among whose patches rows are chosen, evenly spaced, which bounds the RAM."""

STATISTICS_IMAGES = 90
"""Images of a product whose answers, without their own rows, are the statistics of normal distances."""

_AT_ONCE = 32
"""Images read at a time."""

_NO_MAPS = np.empty((0, 0, 0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class _Product:
    """One product on the way to its memory.

    Attributes:
        name: Its name.
        rows: Its rows.
        normal: Answers for some of its images, and their logits.
        distances: Statistics of these.
        center: Its mean descriptor.
        pool: Answers, logits and masks for images with synthetic anomalies; ``None`` without a filter.
    """

    name: str
    rows: ProductRows
    normal: tuple[Answers, Tensor]
    distances: NormalDistances
    center: Tensor
    pool: tuple[Answers, Tensor, Tensor] | None


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
        self.grid = model.backbone.grid(config.model.size)
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
        patches = max(map(len, images.values())) * self.grid[0] * self.grid[1]
        neighbors = self.config.memory.neighbors
        count = -(-min(self.config.memory.rows, patches) // neighbors) * neighbors
        products = [self.build_product(name, images, count) for name in images]
        bank = self.bank(products)
        head = self.head(bank, products)
        return self.scaled(head, products)

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

    def build_product(self, name: str, images: Mapping[str, NDArray[np.uint8]], count: int) -> _Product:
        """Choose the rows of a product and search them for good images and for synthetic anomalies."""
        seed, own = self.config.training.seed, images[name]
        reading = self.read_tokens(own, f"reading {name}")
        self.inputs.add(name, own, Localization(maps=_NO_MAPS, descriptors=reading.descriptors.numpy()))
        generator = derived_generator(seed, "memory rows", name)
        rows = ProductRows(self.units(reading.patches), self.blocks, count, self.config.memory, generator)
        some = torch.randperm(len(own), generator=generator)[:STATISTICS_IMAGES].sort().values
        normal = rows.search(reading.patches[some], some)
        return _Product(
            name=name,
            rows=rows,
            normal=(normal, self.logits(reading.patches[some])),
            distances=NormalDistances.of(normal, count),
            center=F.normalize(reading.descriptors.mean(dim=0), dim=-1),
            pool=self.pool(name, images, rows) if self.config.filter.images else None,
        )

    def pool(
        self, name: str, images: Mapping[str, NDArray[np.uint8]], rows: ProductRows
    ) -> tuple[Answers, Tensor, Tensor]:
        """Draw synthetic anomalies on a product's images and search its rows for them, without the image's own."""
        rng = derived_rng(self.config.training.seed, "anomalies", name)
        answers, logits, masks = [], [], []
        total = self.config.filter.images
        for drawn in draw_pool(images[name], images, total, self.grid, rng):
            tokens = self.reader.read(drawn.images).patches
            answers.append(rows.search(tokens, drawn.sources))
            logits.append(self.logits(tokens))
            masks.append(drawn.masks)
            done = sum(map(len, masks))
            self.report(Progress(stage=f"drawing anomalies on {name}", done=done, total=total))
        whole = Answers(
            distances=torch.cat([one.distances for one in answers]), nearest=torch.cat([one.nearest for one in answers])
        )
        return whole, torch.cat(logits), torch.cat(masks)

    def bank(self, products: Sequence[_Product]) -> PatchMemory:
        """Join the products' rows and statistics."""
        return PatchMemory(
            [product.name for product in products],
            rows=torch.stack([product.rows.rows for product in products], dim=1),
            usual=torch.stack([product.distances.usual for product in products], dim=1).half(),
            distance_mean=torch.stack([product.distances.mean for product in products], dim=1),
            distance_std=torch.stack([product.distances.std for product in products], dim=1),
            centers=torch.stack([product.center for product in products]),
            neighbors=self.config.memory.neighbors,
        )

    def head(self, bank: PatchMemory, products: Sequence[_Product]) -> MemoryHead:
        """Make the detector, and train its filter if the settings ask for one."""
        settings, memory, seed = self.config.filter, self.config.memory, self.config.training.seed
        filter_net = None
        if settings.images:
            first = derived_generator(seed, "filter")
            filter_net = Filter(bank.blocks, bank.neighbors, settings.width, settings.logits, first)
            pools = [self.product_pool(filter_net, bank, number, one) for number, one in enumerate(products)]
            generator = derived_generator(seed, "filter batches")
            fit_filter(filter_net, pools, self.grid, settings, generator, self.report)
        return MemoryHead(bank, filter_net, weight=memory.weight, share=memory.share)

    def product_pool(self, filter_net: Filter, bank: PatchMemory, number: int, product: _Product) -> ProductPool:
        """Prepare what the filter learns from one product."""
        normal, normal_logits = product.normal
        answers, logits, masks = product.pool or (normal, normal_logits, torch.zeros(0))
        return ProductPool(
            anomalous=filter_net.channels(retrieval(bank, number, answers), logits).half(),
            masks=masks,
            normal=filter_net.channels(retrieval(bank, number, normal), normal_logits).half(),
        )

    @torch.inference_mode()
    def scaled(self, head: MemoryHead, products: Sequence[_Product]) -> MemoryHead:
        """Set the scale of the evidence by good images: half of what is far above them all becomes 1/2.

        The scale is linear from the evidence that only 1 % of their cells fall below, to three times the range up to
        the image score that 1 % of them exceed.
        """
        cells, pooled = [], []
        for number, product in enumerate(products):
            answers, logits = product.normal
            evidence = head.evidence(retrieval(head.bank, number, answers), logits, self.grid)
            cells.append(evidence)
            pooled.append(head.pooled(evidence))
        low = float(np.quantile(torch.cat(cells).numpy(), 0.01))
        high = float(np.quantile(torch.cat(pooled).numpy(), 0.99))
        scaled = head.scaled(low, max(3 * (high - low), 1e-3))
        for product, evidence in zip(products, cells, strict=True):
            maps = upsample(scaled.to_unit(evidence), self.config.model.size).numpy()
            self.peaks[product.name] = [float(final_map(one[np.newaxis], self.config.scoring).max()) for one in maps]
        return scaled

    def read_tokens(self, images: NDArray[np.uint8], stage: str) -> Reading:
        """Read the tokens of images; report after every batch."""
        found = []
        for start in range(0, len(images), _AT_ONCE):
            found.append(self.reader.read(images[start : start + _AT_ONCE]))
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


def retrieval(bank: PatchMemory, product: int, answers: Answers) -> Retrieval:
    """Compare a product's answers with its normal distances, as the memory itself does."""
    products = torch.full((len(answers.distances),), product)
    parts = [
        bank.compare(answers.distances[:, :, block].float(), answers.nearest[:, :, block].long(), block, products)
        for block in range(bank.blocks)
    ]
    surprise, excess = (torch.stack(part, dim=2) for part in zip(*parts, strict=True))
    return Retrieval(surprise, excess, products)
