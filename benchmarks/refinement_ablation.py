"""Ablate refinement and the anomaly direction on any backbone: all variants of a seed are trained on the same batches.

python benchmarks/refinement_ablation.py DATA --backbone NAME --out ROWS.jsonl [--epochs 1] [--seeds 0 1 2]

The method is the paper's with the prompt preset's settings, R = 0, 1, 2, the direction learned and fixed, without a
memory. The coarse pass's features are frozen, so that all variants of a seed share them; each is trained as it would be
alone. ROWS.jsonl takes one line for each variant and seed; lines that are there are not measured again. The table has
the mean and the sample standard deviation over the seeds of image AUROC / pixel AUROC / pixel AP in percent, and the
differences of variants with the same seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clipada.config import Config
from clipada.data import Dataset, load_dataset, load_mask, read_batches
from clipada.devices import to_tensor
from clipada.evaluation.metrics import CategoryTest, mean_metrics
from clipada.models.backbones import load_backbone, with_defaults
from clipada.models.clip_ada import ClipAda, build_model, upsample
from clipada.scoring import score_passes
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatches
from clipada.training.objective import adamw, objective, pass_losses, set_learning_rates

Variant = tuple[int, bool]
"""Number of refinement passes, and True for a learned direction."""

VARIANTS: tuple[Variant, ...] = tuple((refinements, learned) for learned in (True, False) for refinements in (0, 1, 2))


def _word(variant: Variant) -> str:
    return "learned" if variant[1] else "fixed"


NAMED: Mapping[str, Variant] = {f"r{variant[0]}-{_word(variant)}": variant for variant in VARIANTS}
"""The variants by the names that ``clipada reproduce`` gives them."""

DIFFERENCES: tuple[tuple[Variant, Variant], ...] = (
    ((1, True), (0, True)),
    ((2, True), (0, True)),
    ((1, False), (0, False)),
    ((2, False), (0, False)),
    ((0, True), (0, False)),
    ((1, True), (1, False)),
    ((2, True), (2, False)),
)
"""Pairs of variants whose difference is printed."""

Row = Mapping[str, Any]


def passes_of(model: ClipAda, images: Tensor, coarse: Tensor) -> list[Tensor]:
    """Compute the logits of every pass as ``ClipAda.run`` does, given the coarse pass's tokens ``(B, N, D)``."""
    text, passes = model.text_vector(), list[Tensor]()
    for projection in model.projections:
        tokens = model.backbone(model.attend(images, passes[-1].sigmoid())) if passes else coarse
        passes.append(model.similarity(projection(tokens), text).unflatten(1, model.backbone.grid(images.shape[-2:])))
    return passes


def train(models: Mapping[Variant, ClipAda], config: Config, dataset: Dataset) -> None:
    """Train all variants of a seed on the same batches, with the preset's learning rates at the same shares."""
    preset = Config.preset("prompt").training
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    batches = TrainingBatches(dataset.train, config, synthesizer)
    optimizers = {variant: adamw(model, config.training) for variant, model in models.items()}
    backbone = next(iter(models.values())).backbone
    started = time.monotonic()
    for batch in DataLoader(batches, batch_size=None, num_workers=0):
        images = batch.images
        with torch.no_grad():
            coarse = backbone(backbone.normalize(images))
        for variant, model in models.items():
            set_learning_rates(optimizers[variant], preset, batch.step * preset.epochs // len(batches))
            losses = pass_losses(passes_of(model, images, coarse), batch.masks, config.training)
            optimizers[variant].zero_grad()
            torch.autograd.backward(objective(losses, config.training))
            optimizers[variant].step()
        if batch.step % 20 == 0:
            seconds = time.monotonic() - started
            print(
                f"step {batch.step} of {len(batches)}, {seconds:.0f} s, loss {float(losses[0].detach()):.4f}",
                flush=True,
            )


@torch.inference_mode()
def evaluate(models: Mapping[Variant, ClipAda], config: Config, dataset: Dataset) -> dict[Variant, dict[str, Any]]:
    """Compute the metrics of each variant: of every map by name (``pass 0`` ..., ``mean``) and category."""
    found: dict[Variant, dict[str, dict[str, Any]]] = {variant: defaultdict(dict) for variant in models}
    backbone = next(iter(models.values())).backbone
    for category in dataset.categories:
        samples = [sample for sample in dataset.test if sample.category == category]
        tests: dict[tuple[Variant, str], CategoryTest] = defaultdict(CategoryTest)
        for batch in read_batches([sample.path for sample in samples], config.model.size, 8, workers=1):
            images = to_tensor(batch.images)
            coarse = backbone(backbone.normalize(images))
            masks = [
                load_mask(samples[p], config.model.size, size)
                for p, size in zip(batch.positions, batch.sizes, strict=True)
            ]
            for variant, model in models.items():
                logits = passes_of(model, images, coarse)
                raw = torch.stack([upsample(one.sigmoid(), images.shape[-2:]) for one in logits]).numpy()
                for index, position in enumerate(batch.positions):
                    maps, scores = score_passes(raw[:, index], config.scoring)
                    for name, one, score in zip(names(variant), maps, scores, strict=True):
                        tests[variant, name].update(score, samples[position].anomalous, one, masks[index])
        for (variant, name), test in tests.items():
            found[variant][name][category] = test.compute()
    return {
        variant: {name: _figures(categories) for name, categories in maps.items()} for variant, maps in found.items()
    }


def names(variant: Variant) -> list[str]:
    """Name the maps of a variant in the order of ``score_passes``."""
    passes = [f"pass {index}" for index in range(variant[0] + 1)]
    return passes if len(passes) == 1 else [*passes, "mean"]


def _figures(categories: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return image AUROC, pixel AUROC and pixel AP in percent by category and of their mean."""
    whole = {**categories, "mean": mean_metrics(categories.values())}
    return {
        name: [100 * value for value in (one.image_auroc, one.pixel_auroc, one.pixel_ap)] for name, one in whole.items()
    }


def read_rows(path: Path) -> list[Row]:
    """Read the rows that were measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(base: Config, variants: Sequence[Variant], seeds: Sequence[int], dataset: Dataset, out: Path) -> None:
    """Train and score the variants of every seed that have no row yet."""
    backbone = load_backbone(base.backbone)
    for seed in seeds:
        done = {(row["refinements"], row["learned"]) for row in read_rows(out) if row["seed"] == seed}
        config = base.updated({"training.seed": seed})
        models = {
            variant: build_model(
                config.updated({"model.refinements": variant[0], "prompt.learnable": variant[1]}), backbone
            )
            for variant in variants
            if variant not in done
        }
        if not models:
            continue
        train(models, config, dataset)
        with out.open("a") as file:
            for (refinements, learned), maps in evaluate(models, config, dataset).items():
                row = {"seed": seed, "refinements": refinements, "learned": learned, "maps": maps}
                file.write(json.dumps(row) + "\n")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table: every variant and map, then the differences of the same seed."""
    by_variant: dict[Variant, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        by_variant[row["refinements"], row["learned"]][row["seed"]] = row["maps"]
    categories = list(next(iter(rows))["maps"]["pass 0"])
    yield "| R | direction | map | " + " | ".join(categories) + " |"
    yield "|---" * (3 + len(categories)) + "|"
    for variant in (variant for variant in VARIANTS if variant in by_variant):
        for name in reversed(names(variant)):
            cells = [_cell([maps[name][c] for maps in by_variant[variant].values()]) for c in categories]
            yield f"| {variant[0]} | {_word(variant)} | {name} | " + " | ".join(cells) + " |"
    yield ""
    for first, second in DIFFERENCES:
        pairs = [(by_variant[first][s], by_variant[second][s]) for s in by_variant[first] if s in by_variant[second]]
        cells = [
            _cell([[a - b for a, b in zip(_final(one)[c], _final(other)[c], strict=True)] for one, other in pairs], "+")
            for c in categories
        ]
        yield f"| R = {first[0]} {_word(first)} minus R = {second[0]} {_word(second)} | " + " | ".join(cells) + " |"


def _final(maps: Mapping[str, Any]) -> Mapping[str, list[float]]:
    """Return the figures of the final map: of the mean of the passes, if there are several."""
    figures: Mapping[str, list[float]] = maps.get("mean", maps["pass 0"])
    return figures


def _cell(seeds: Sequence[Sequence[float]], sign: str = "") -> str:
    """Write three metrics with mean and sample standard deviation over seeds."""
    return " / ".join(
        f"{mean(values):{sign}.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:{sign}.1f}"
        for values in zip(*seeds, strict=True)
    )


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=NAMED, default=list(NAMED))
    options = parser.parse_args()
    changes = {
        "backbone.name": options.backbone,
        "model.image_size": options.size,
        "model.prototypes": 0,
        "training.epochs": options.epochs,
        "training.batch_size": options.batch,
        "training.milestones": (),
    }
    measure(
        with_defaults(Config.preset("prompt").updated(changes)),
        [NAMED[name] for name in options.variants],
        options.seeds,
        load_dataset(options.data),
        options.out,
    )
    print("\n".join(table(read_rows(options.out))))


if __name__ == "__main__":
    main()
