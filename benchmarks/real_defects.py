"""Measure what photos of known defects gain: on kinds that were shown, and on kinds that were not.

python benchmarks/real_defects.py DATA --backbone NAME --out ROWS.jsonl [--counts 5 10 20] [--draws 0 1 2]

Memory and filter are built once, of all training images; only what follows from the photos is learned again for each
row. A draw shows half of each product's kinds, and of these kinds so many photos with their masks. Both sides, with and
without the photos, are measured on the same test images, from which the photos shown are left out. Products are given.
ROWS.jsonl takes one line for each product, number and draw; lines that are there are not measured again. The table has
the mean and the sample standard deviation over products and draws.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from few_images import thinned
from measuring import conditions
from numpy.typing import NDArray
from torch import Tensor

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset, load_dataset, load_mask, read_batches
from clipada.data.defects import Defects
from clipada.devices import to_tensor
from clipada.evaluation.metrics import auroc, average_precision
from clipada.models.backbones import Reading, with_defaults
from clipada.models.clip_ada import build_model
from clipada.models.known_defects import KnownDefects
from clipada.models.memory_head import MemoryHead
from clipada.scoring import final_map
from clipada.training.known_defects import DefectLearner
from clipada.training.memory import MemoryBuilder
from clipada.training.tokens import TokenReader
from clipada.types import Mask, Sample, unreported

FIGURES = ("image AUROC", "pixel AP")
"""Metrics of the table, in this order."""

EACH = 4
"""Every so many-th pixel of a map counts, down and across."""

LEAST_TESTED = 5
"""Fewest test images of a side, shown or not, that are measured."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A test image as the memory sees it: its tokens, its evidence and its mask."""

    sample: Sample
    patches: Tensor
    evidence: Tensor
    mask: Mask | None


class Bench:
    """A memory that is built once, and the test images that it has searched.

    Args:
        dataset: All images.
        backbone: Name or folder of the backbone.
        preset: Preset of the training.
    """

    def __init__(self, dataset: Dataset, backbone: str, preset: str) -> None:
        self.dataset = dataset
        self.config = with_defaults(Config.preset(preset).updated({"backbone.name": backbone}))  # type: ignore[arg-type]
        self.model = build_model(self.config).eval()
        self.reader = TokenReader(self.model.backbone, RuntimeConfig().cache_gigabytes)
        builder = MemoryBuilder(self.model, self.config, self.reader, RuntimeConfig().decoders, unreported)
        self.head: MemoryHead = builder.build(dataset.train)
        assert builder.learner is not None
        self.learner: DefectLearner = builder.learner
        self._tested: dict[str, list[Tested]] = {}

    @torch.inference_mode()
    def tested(self, product: str) -> list[Tested]:
        """Return the test images of a product, read and searched once."""
        if product not in self._tested:
            samples = self.dataset.of(product).test
            batches = read_batches([one.path for one in samples], self.config.model.size, 8, workers=1)
            self._tested[product] = [one for batch in batches for one in self._read(product, samples, batch)]
        return self._tested[product]

    def _read(self, product: str, samples: Sequence[Sample], batch: Any) -> list[Tested]:
        """Read and search a batch."""
        products = torch.full((len(batch.paths),), self.dataset.categories.index(product))
        pixels = self.head.crops.cut(to_tensor(batch.images), products)
        cut = (255 * pixels).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        reading = self.reader.read(cut)
        found = self.head.bank(Reading(reading.patches.float(), reading.descriptors), products)
        evidence = self.head.evidence(found, torch.zeros(reading.patches.shape[:2]))
        read = []
        for index, position in enumerate(batch.positions):
            mask = load_mask(samples[position], self.config.model.size, batch.sizes[index])
            read.append(
                Tested(sample=samples[position], patches=reading.patches[index], evidence=evidence[index], mask=mask)
            )
        return read

    @torch.inference_mode()
    def measure(self, product: str, shown: Sequence[Sample], kinds: Sequence[str]) -> dict[str, Any]:
        """Learn from the photos shown, and measure kinds shown and not shown, without the photos and with them."""
        started, number = time.monotonic(), self.dataset.categories.index(product)
        known, records = self.learner.learn(Defects(samples=tuple(shown)))
        seconds, record = time.monotonic() - started, records[product]
        paths = {sample.path for sample in shown}
        rest = [one for one in self.tested(product) if one.sample.path not in paths]
        figures: dict[str, Any] = {}
        for side, seen in (("shown", True), ("not shown", False)):
            images = [one for one in rest if not one.sample.anomalous or (one.sample.defect in kinds) is seen]
            if sum(one.sample.anomalous for one in images) < LEAST_TESTED:
                continue
            figures[side] = {}
            for way, learned in (("without", None), ("with", known)):
                found = [self._scored(one, learned, number) for one in images]
                scores, values, masks = (np.stack(parts) for parts in zip(*found, strict=True))
                labels = np.array([one.sample.anomalous for one in images])
                figures[side][way] = {
                    "image AUROC": auroc(scores, labels),
                    "pixel AP": average_precision(values.ravel(), masks.ravel()),
                }
        judged = {"weight": record.weight, "without": record.auroc_without, "with": record.auroc_with}
        return {"figures": figures, "judged": judged, "kinds": list(kinds), "seconds": round(seconds, 1)}

    def _scored(
        self, one: Tested, learned: KnownDefects | None, number: int
    ) -> tuple[float, NDArray[np.float32], NDArray[np.bool_]]:
        """Return the image score, and some pixels of the final map and of the mask."""
        evidence, given = one.evidence[None], torch.tensor([number])
        if learned is not None:
            evidence = evidence + self.head.gain(learned(one.patches[None], given), given)
        raw = self.head.crops.enlarged(self.head.to_unit(evidence)).numpy()
        final = final_map(raw, self.config.scoring)[::EACH, ::EACH]
        mask = np.zeros(final.shape, np.bool_) if one.mask is None else one.mask[::EACH, ::EACH]
        return float(self.head.pooled(evidence)[0]), final, mask


def shown_kinds(dataset: Dataset, product: str, draw: int) -> list[str]:
    """Draw half of a product's kinds of defects, rounded up."""
    kinds = sorted({sample.defect for sample in dataset.of(product).test if sample.anomalous})
    random.Random(f"{draw} {product}").shuffle(kinds)
    return kinds[: (len(kinds) + 1) // 2]


def shown_photos(dataset: Dataset, product: str, kinds: Sequence[str], count: int, draw: int) -> list[Sample]:
    """Draw photos of some kinds; those of a smaller number are among those of a larger one."""
    photos = [sample for sample in dataset.of(product).test if sample.defect in kinds and sample.masks]
    random.Random(f"{draw} {product} photos").shuffle(photos)
    return photos[:count]


def cell(values: Sequence[float]) -> str:
    """Format a mean of differences or figures in percent, with their standard deviation."""
    return f"{100 * mean(values):.1f}" + (f" ± {100 * stdev(values):.1f}" if len(values) > 1 else "")


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Format the figures as Markdown: by product and number, then of all products together."""
    heads = ["product", "photos", "kinds", "image AUROC without", *(f"gain in {name}" for name in FIGURES)]
    text = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for product in [*dict.fromkeys(line["product"] for line in lines), "all"]:
        for count in sorted({line["count"] for line in lines}):
            for side in ("shown", "not shown"):
                rows = [line for line in lines if line["count"] == count and product in (line["product"], "all")]
                found = [line["figures"][side] for line in rows if side in line["figures"]]
                if found:
                    gains = (cell([one["with"][name] - one["without"][name] for one in found]) for name in FIGURES)
                    before = cell([one["without"]["image AUROC"] for one in found])
                    text.append(f"| {product} | {count} | {side} | {before} | " + " | ".join(gains) + " |")
    return "\n".join(text)


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="accurate")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--products", nargs="+", help="Only these products; the memory is of all.")
    parser.add_argument("--most", type=int, help="Test images of each product, for a trial.")
    options = parser.parse_args()
    print(conditions(torch.get_num_threads(), "torch", "transformers"), flush=True)
    dataset = thinned(load_dataset(options.data), options.most)
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(line["product"], line["count"], line["draw"]) for line in lines}
    named = options.products or dataset.categories
    rows = [(name, count, draw) for draw in options.draws for count in options.counts for name in named]
    bench = Bench(dataset, options.backbone, options.preset) if set(rows) - known else None
    for product, count, draw in rows:
        if bench is None or (product, count, draw) in known:
            continue
        kinds = shown_kinds(dataset, product, draw)
        found = bench.measure(product, shown_photos(dataset, product, kinds, count, draw), kinds)
        lines.append({"product": product, "count": count, "draw": draw, **found})
        with options.out.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
        print(json.dumps(lines[-1]), flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
