"""Measure what 1 to 16 good images of each product reach, beside AnomalyDINO's recipe on the same draws.

python benchmarks/few_images.py DATA --backbone NAME --out ROWS.jsonl [--shots 1 2 4 8 16] [--draws 0 1 2 3 4]
python benchmarks/few_images.py DATA --backbone NAME --seconds

A draw of more images contains those of fewer. Tokens of the test images are computed once: this project's are in the
token cache, AnomalyDINO's in memory. ROWS.jsonl takes one line for each method, number and draw; lines that are there
are not measured again. The table has the mean and the sample standard deviation over the draws of image AUROC / pixel
AUROC / pixel AP / AUPRO in percent. ``--seconds`` measures the time from images to the first verdict, without a cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import conditions
from memory_ablation import cell, evaluate
from torch import Tensor, nn

from clipada.config import AnomalyDinoConfig, BackboneConfig, Config, RuntimeConfig, ScoringConfig
from clipada.data import Dataset, load_dataset
from clipada.evaluation.evaluate import evaluate_dataset
from clipada.evaluation.metrics import mean_metrics
from clipada.models.backbones import Backbone, with_defaults
from clipada.models.clip_ada import build_model
from clipada.research.baselines.anomaly_dino import AnomalyDino, fit_anomaly_dino
from clipada.research.baselines.fitting import FitContext
from clipada.training.memory import MemoryBuilder
from clipada.training.tokens import TokenReader
from clipada.types import unreported

METHODS: dict[str, dict[str, Any]] = {
    "clipada": {},
    "clipada without copies": {"memory.copies": "none"},
    "clipada with turned copies": {"memory.copies": "turned"},
    "clipada with moved copies": {"memory.copies": "moved"},
    "quick": {"preset": "quick"},
    "anomaly-dino": {},
    "anomaly-dino block 6": {"block": 6, "tokens": "raw", "masked": ()},
}
"""Settings that each method changes."""


class KeptTokens(nn.Module):
    """Backbone that computes the tokens of an image once.

    Args:
        backbone: The backbone.
        kept: Tokens by the hash of the pixels, float16, which grow.
    """

    def __init__(self, backbone: Backbone, kept: dict[str, Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.kept = kept

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the tokens ``(B, N, W)`` of normalized images."""
        names = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in pixels]
        for name, image in zip(names, pixels, strict=True):
            if name not in self.kept:
                self.kept[name] = self.backbone(image[None])[0].half()
        return torch.stack([self.kept[name] for name in names]).float()

    def grid(self, size: Sequence[float]) -> tuple[int, int]:
        """Return the token grid of a size."""
        return self.backbone.grid(size)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize images as the backbone expects."""
        return self.backbone.normalize(images)


def drawn(dataset: Dataset, shots: int, draw: int) -> Dataset:
    """Draw the good images of each product; the test images stay."""
    kept = []
    for category in dataset.categories:
        train = list(dataset.of(category).train)
        random.Random(f"{draw} {category}").shuffle(train)
        kept += train[:shots]
    return replace(dataset, samples=(*kept, *dataset.test))


def thinned(dataset: Dataset, most: int | None) -> Dataset:
    """Keep at most so many test images of each product, evenly spaced; for a trial."""
    if most is None:
        return dataset
    kept = []
    for category in dataset.categories:
        test = dataset.of(category).test
        kept += [test[round(index * (len(test) - 1) / (most - 1))] for index in range(most)]
    return replace(dataset, samples=(*dataset.train, *kept))


def measure_clipada(dataset: Dataset, backbone: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Train and evaluate a memory."""
    settings = {name: value for name, value in changes.items() if name != "preset"}
    config = Config.preset(changes.get("preset", "accurate")).updated({"backbone.name": backbone, **settings})
    config = with_defaults(config)
    started = time.monotonic()
    model = build_model(config).eval()
    reader = TokenReader(model.backbone, RuntimeConfig().cache_gigabytes)
    builder = MemoryBuilder(model, config, reader, RuntimeConfig().decoders, unreported)
    head = builder.build(dataset.train)
    seconds = round(time.monotonic() - started, 1)
    figures = evaluate(model, head, reader, config, dataset)
    return {"seconds": seconds, "copies": builder.record.copies, **figures}


def measure_anomaly_dino(
    dataset: Dataset, backbone: str, changes: Mapping[str, Any], kept: dict[str, Tensor]
) -> dict[str, Any]:
    """Fit and evaluate AnomalyDINO on each product alone, with all of its drawn images."""
    found, seconds = {}, 0.0
    for category in dataset.categories:
        part, started = dataset.of(category), time.monotonic()
        context = FitContext(dataset=part, backbone=BackboneConfig(name=backbone), device="cpu")
        engine = fit_anomaly_dino(context, AnomalyDinoConfig(shots=0, **changes)).with_paper_scores()
        seconds += time.monotonic() - started
        detector = engine.detector
        assert isinstance(detector, AnomalyDino)
        detector.backbone = KeptTokens(detector.backbone, kept)  # type: ignore[assignment]
        assert engine.sigma is not None
        scores = evaluate_dataset(engine, part, ScoringConfig(sigma=engine.sigma), batch_size=4, workers=1)
        own, maps = scores.passes[0][category], scores.categories[category]
        found[category] = replace(maps, image_auroc=own.image_auroc)
    figures = {name: one.to_dict() for name, one in {**found, "mean": mean_metrics(found.values())}.items()}
    return {"seconds": round(seconds, 1), **figures}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Format the figures as Markdown."""
    places = [name for name in lines[0]["figures"] if name not in ("seconds", "copies")]
    text = ["| images | method | " + " | ".join(places) + " |", "|---" * (len(places) + 2) + "|"]
    for shots in sorted({line["shots"] for line in lines}):
        for method in dict.fromkeys(line["method"] for line in lines):
            draws = [one["figures"] for one in lines if (one["method"], one["shots"]) == (method, shots)]
            if draws:
                cells = " | ".join(cell([one[place] for one in draws]) for place in places)
                text.append(f"| {shots} | {method} | {cells} |")
    return "\n".join(text)


def print_seconds(dataset: Dataset, backbone: str, shots: Sequence[int]) -> None:
    """Print the time of `clipada train` and of the first `clipada predict`, for one product, then for all."""
    for count in shots:
        for names in (dataset.categories[:1], dataset.categories):
            with tempfile.TemporaryDirectory() as folder:
                few = drawn(dataset.select(names), count, 0)
                for sample in few.train:
                    place = Path(folder) / "photos" / sample.category / "good"
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(sample.path, place)
                run, started = Path(folder) / "run", time.monotonic()
                clipada = [sys.executable, "-m", "clipada"]
                data = [str(Path(folder) / "photos"), "--backbone", backbone, "--out", str(run), "--no-cache"]
                subprocess.run([*clipada, "train", *data], check=True, capture_output=True)
                trained = time.monotonic() - started
                image = [str(few.test[0].path), "--out", str(Path(folder) / "verdict")]
                done = subprocess.run([*clipada, "predict", str(run), *image], capture_output=True, check=False)
                assert done.returncode in (0, 1), done.stderr.decode()
                total = time.monotonic() - started
            print(f"{count} images of {len(names)} products: {trained:.1f} s of training, {total:.1f} s in all")


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    usual = ["clipada", "clipada without copies", "anomaly-dino", "anomaly-dino block 6"]
    parser.add_argument("--methods", nargs="+", default=usual, choices=list(METHODS))
    parser.add_argument("--most", type=int, help="Test images of each product, for a trial.")
    parser.add_argument("--seconds", action="store_true")
    options = parser.parse_args()
    print(conditions(torch.get_num_threads(), "torch", "transformers"), flush=True)
    dataset = thinned(load_dataset(options.data), options.most)
    if options.seconds:
        print_seconds(dataset, options.backbone, options.shots)
        return
    if options.out is None:
        parser.error("--out ROWS.jsonl is needed")
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(line["method"], line["shots"], line["draw"], line["most"]) for line in lines}
    kept: dict[str, dict[str, Tensor]] = {method: {} for method in options.methods}
    for draw in options.draws:
        for shots in options.shots:
            few = drawn(dataset, shots, draw)
            for method in options.methods:
                if (method, shots, draw, options.most) in known:
                    continue
                if method.startswith("anomaly-dino"):
                    figures = measure_anomaly_dino(few, options.backbone, METHODS[method], kept[method])
                else:
                    figures = measure_clipada(few, options.backbone, METHODS[method])
                lines.append({"method": method, "shots": shots, "draw": draw, "most": options.most, "figures": figures})
                with options.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                means = f"{cell([figures['mean']])}, {figures['seconds']:.0f} s, {figures.get('copies', '')}"
                print(f"{shots} images, draw {draw}, {method}: {means}", flush=True)
    print(table([line for line in lines if line["most"] == options.most]))


if __name__ == "__main__":
    main()
