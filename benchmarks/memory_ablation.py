"""Ablate the memory and its filter: each row changes settings of the accurate preset.

python benchmarks/memory_ablation.py DATA --backbone NAME --out ROWS.jsonl [--seeds 0 1 2] [--rows "bank alone" ...]

Tokens come from the token cache, those of test images too, so that a row costs minutes. ROWS.jsonl takes one line for
each row and seed; lines that are there are not measured again. The table has the mean and the sample standard deviation
over the seeds of image AUROC / pixel AUROC / pixel AP / AUPRO in percent, of each category and of their mean.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from measuring import conditions

from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset, load_dataset, load_mask, read_batches
from clipada.devices import to_tensor
from clipada.evaluation.metrics import CategoryTest, mean_metrics
from clipada.evaluation.paired import METRICS
from clipada.models.backbones import with_defaults
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.memory_head import MemoryHead, View
from clipada.runs import load_model
from clipada.scoring import score_passes
from clipada.training.memory import MemoryBuilder
from clipada.training.tokens import TokenReader
from clipada.types import unreported

ROWS: dict[str, dict[str, Any]] = {
    "accurate": {},
    "bank alone": {"filter.images": 0},
    "filter alone (weight 0)": {"memory.weight": 0.0},
    "no box": {"memory.crop": False},
    "whole image and box": {"memory.whole": True},
    "prompt's logits": {"filter.logits": True, "training.epochs": 1},
    "3,250 rows": {"memory.rows": 3_250},
    "6,500 rows": {"memory.rows": 6_500},
    "26,000 rows": {"memory.rows": 26_000},
    "sampled rows": {"memory.selection": "sampled"},
    "random rows": {"memory.selection": "random"},
    "1 neighbor": {"memory.neighbors": 1},
    "50 anomalies a product": {"filter.images": 50},
    "100 anomalies a product": {"filter.images": 100},
    "image score of 1 %": {"memory.share": 0.01},
    "block 4": {"backbone.blocks": (4,)},
    "block 6": {"backbone.blocks": (6,)},
    "blocks 4, 6, 8": {"backbone.blocks": (4, 6, 8)},
}
"""Settings that each row changes."""


def trained(config: Config, dataset: Dataset) -> tuple[ClipAda, MemoryHead]:
    """Train a row: as a training does, which ends with memory and filter, or these alone."""
    if config.training.epochs:
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(train(dataset, Path(folder) / "run", config))
        assert model.head is not None
        return model, model.head
    model = build_model(config).eval()
    reader = TokenReader(model.backbone, RuntimeConfig().cache_gigabytes)
    return model, MemoryBuilder(model, config, reader, RuntimeConfig().decoders, unreported).build(dataset.train)


@torch.inference_mode()
def evaluate(model: ClipAda, head: MemoryHead, reader: TokenReader, config: Config, dataset: Dataset) -> dict[str, Any]:
    """Compute the metrics by category and their mean; products are found as in an inspection."""
    found, text = {}, model.text_vector()

    def view(images: np.ndarray[Any, np.dtype[np.uint8]], scale: float = 1.0) -> View:
        reading = reader.read(images, scale)
        patches = reading.patches.float()
        return View(reading._replace(patches=patches), model.similarity(model.projections[0](patches), text))

    for category in dataset.categories:
        samples, test = [sample for sample in dataset.test if sample.category == category], CategoryTest()
        for batch in read_batches([sample.path for sample in samples], config.model.size, 8, workers=1):
            whole = view(batch.images, head.glance)
            products = head.resolve(whole.reading.descriptors, None)
            pixels = head.crops.cut(to_tensor(batch.images), products)
            cut = (255 * pixels).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
            detection = head(whole if head.one_view else view(cut), whole, products)
            for index, position in enumerate(batch.positions):
                mask = load_mask(samples[position], config.model.size, batch.sizes[index])
                raw, own = detection.maps[index : index + 1].numpy(), float(detection.scores[index])
                maps, scores = score_passes(raw, config.scoring, own)
                test.update(scores[-1], samples[position].anomalous, maps[-1], mask)
        found[category] = test.compute()
    return {name: one.to_dict() for name, one in {**found, "mean": mean_metrics(found.values())}.items()}


def measure(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Train and evaluate one row."""
    started = time.monotonic()
    model, head = trained(config, dataset)
    seconds = time.monotonic() - started
    reader = TokenReader(model.backbone, RuntimeConfig().cache_gigabytes)
    return {"seconds": round(seconds, 1), **evaluate(model, head, reader, config, dataset)}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows as Markdown."""
    places = [name for name in lines[0]["figures"] if name != "seconds"]
    text = ["| row | " + " | ".join(places) + " |", "|---" * (len(places) + 1) + "|"]
    for name in dict.fromkeys(line["row"] for line in lines):
        seeds = [line["figures"] for line in lines if line["row"] == name]
        text.append(f"| {name} | " + " | ".join(cell([one[place] for one in seeds]) for place in places) + " |")
    return "\n".join(text)


def cell(figures: Sequence[Mapping[str, float]]) -> str:
    """Format the figures of a place: their mean, and the standard deviation where there are several seeds."""
    parts = []
    for metric in METRICS:
        values = [100 * one[metric] for one in figures]
        parts.append(f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else ""))
    return " / ".join(parts)


def main() -> None:
    """Measure the rows that are missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    print(conditions(torch.get_num_threads(), "torch", "transformers"), flush=True)
    dataset = load_dataset(options.data)
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(line["row"], line["seed"]) for line in lines}
    for seed in options.seeds:
        for name in options.rows:
            if (name, seed) in known:
                continue
            changes = {"backbone.name": options.backbone, "training.seed": seed, **ROWS[name]}
            config = with_defaults(Config.preset("accurate").updated(changes))
            figures = measure(config, dataset)
            lines.append({"row": name, "seed": seed, "figures": figures})
            with options.out.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(f"{name}, seed {seed}: {cell([figures['mean']])}, {figures['seconds']:.0f} s", flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
