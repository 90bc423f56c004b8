"""Compare settings of the coarse pass without test images: many heads are trained on the same batches.

python benchmarks/coarse_settings.py DATA --backbone NAME 'backbone.block=6' 'backbone.block=9 model.similarity=dot'

Every argument after DATA is one head: settings that differ from the prompt preset, separated by spaces. Heads share the
frozen features and the synthetic anomalies. 15 % of the training images are held out and scored with synthetic
anomalies, and with small defects that share no code with them. Prototypes are found after the training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from small_defects import draw_small_defect
from torch import Tensor
from torch.utils.data import DataLoader

from clipada.config import Config
from clipada.data import load_dataset, read_batches
from clipada.evaluation.metrics import CategoryMetrics, evaluate_maps, mean_metrics
from clipada.models.backbones import FrozenClip, load_clip, with_defaults
from clipada.models.clip_ada import ClipAda, build_model, upsample
from clipada.models.prototypes import Prototypes, find_prototypes
from clipada.randomness import derived_generator
from clipada.scoring import anomaly_map, image_score
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatches
from clipada.training.objective import learning_rate, pass_losses
from clipada.training.split import split_validation
from clipada.types import Map, Mask, Sample

ROUNDS = 4
"""Number of anomalies drawn for each held-out image."""

Anomalies = Callable[[Tensor, Config, int, int], tuple[Tensor, Tensor]]

COMMON = {"model.refinements": 0, "training.validation_fraction": 0.15}


@dataclass(frozen=True)
class Head:
    """Coarse pass of one setting: projection and prompt over a shared backbone."""

    config: Config
    model: ClipAda
    optimizer: torch.optim.Optimizer

    def logits(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        """``S_0`` from the tokens of this head's block, ``(B, h, w)``."""
        logits: Tensor = self.model.similarity(self.model.projections[0](tokens), self.model.text_vector())
        if self.model.memory is not None:
            logits = logits + self.config.model.prototype_weight * self.model.memory(tokens)
        return logits.reshape(-1, *self.model.backbone.grid(size))

    def learn(self, tokens: Tensor, masks: Tensor, epoch: int) -> None:
        """One optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.training, epoch)
        (loss,) = pass_losses([self.logits(tokens, masks.shape[-2:])], masks, self.config.training)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()


def head_config(base: Config, settings: str) -> Config:
    """Apply the settings of one command-line argument to the shared ones."""
    changes = (pair.partition("=") for pair in settings.split())
    return base.updated({name: value for name, _, value in changes})


def build_head(config: Config, clip: FrozenClip) -> Head:
    """Build an untrained head."""
    model = build_model(config, clip)
    optimizer = torch.optim.AdamW(
        model.trained_parameters().values(), weight_decay=config.training.weight_decay, lr=config.training.learning_rate
    )
    return Head(config, model, optimizer)


@torch.no_grad()
def features(clip: FrozenClip, images: Tensor) -> tuple[Tensor, ...]:
    """Return the patch tokens of every block, block ``k`` at position ``k``."""
    states = clip.vision(clip.normalize(images), interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
    return tuple(state[:, 1:] for state in states)


def train(heads: Mapping[str, Head], samples: Sequence[Sample], base: Config, clip: FrozenClip) -> None:
    """Train all heads on the same batches."""
    batches = TrainingBatches(samples, base, AnomalySynthesizer(base.synthesis, texture_source(base.synthesis)))
    for batch in DataLoader(batches, batch_size=None, num_workers=1):
        tokens = features(clip, batch.images)
        for head in heads.values():
            head.learn(tokens[head.config.backbone.read_blocks[-1]], batch.masks, batch.step // batches.steps_per_epoch)


def fit_prototypes(heads: Mapping[str, Head], samples: Sequence[Sample], base: Config) -> None:
    """Find prototypes for the heads that use them; heads with the same block and number share them."""
    found: dict[tuple[int, int], Prototypes] = {}
    for head in heads.values():
        block, count = head.config.backbone.read_blocks[-1], head.config.model.prototypes
        if count and (block, count) not in found:
            generator = derived_generator(base.training.seed, "prototypes")
            clip = load_clip(head.config.backbone)
            found[block, count] = find_prototypes(clip, samples, count, base.model.size, generator)
        head.model.memory = found.get((block, count))


def synthetic(images: Tensor, base: Config, draw: int, index: int) -> tuple[Tensor, Tensor]:
    """Draw anomalies as in training: images ``(B, 3, H, W)`` and masks ``(B, 1, H, W)``."""
    synthesizer = AnomalySynthesizer(base.synthesis, texture_source(base.synthesis))
    return synthesizer(images, derived_generator(base.training.seed, "validation", draw, index))


def small(images: Tensor, base: Config, draw: int, index: int) -> tuple[Tensor, Tensor]:
    """Draw small defects on six of ten images: images ``(B, 3, H, W)`` and masks ``(B, 1, H, W)``."""
    rng = np.random.default_rng((base.training.seed, draw, index))
    pixels = images.permute(0, 2, 3, 1).numpy()
    empty = np.zeros(pixels.shape[1:3], bool)
    drawn = [draw_small_defect(one, rng) if rng.random() < 0.6 else (one, empty) for one in pixels]
    changed, masks = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
    return changed.permute(0, 3, 1, 2).contiguous(), masks[:, None]


def validate(
    heads: Mapping[str, Head], samples: Sequence[Sample], base: Config, clip: FrozenClip, anomalies: Anomalies
) -> dict[str, dict[str, CategoryMetrics]]:
    """Compute the metrics of every head by category, on the same anomalies."""
    truths: list[tuple[str, Mask]] = []
    maps: dict[str, list[Map]] = {name: [] for name in heads}
    for draw in range(ROUNDS):
        for index, batch in enumerate(read_batches([s.path for s in samples], base.model.size, 16, 1)):
            clean = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
            images, masks = anomalies(clean, base, draw, index)
            truths += [(samples[p].category, masks[i, 0].numpy() > 0) for i, p in enumerate(batch.positions)]
            tokens = features(clip, images)
            for name, head in heads.items():
                with torch.no_grad():
                    logits = head.logits(tokens[head.config.backbone.read_blocks[-1]], images.shape[-2:])
                raw = upsample(logits.sigmoid(), images.shape[-2:])
                maps[name] += [anomaly_map(one, base.scoring) for one in raw.numpy()]
    categories = dict.fromkeys(category for category, _ in truths)
    return {name: {c: _metrics(c, truths, found, base) for c in categories} for name, found in maps.items()}


def _metrics(category: str, truths: Sequence[tuple[str, Mask]], maps: Sequence[Map], base: Config) -> CategoryMetrics:
    chosen = [(mask, one) for (name, mask), one in zip(truths, maps, strict=True) if name == category]
    scores = np.array([image_score(one, base.scoring) for _, one in chosen])
    labels = np.array([mask.any() for mask, _ in chosen])
    return evaluate_maps(scores, labels, [one for _, one in chosen], [mask for mask, _ in chosen])


def main() -> None:
    """Train, validate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("heads", nargs="+")
    parser.add_argument("--backbone", default=Config().backbone.name)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    base = Config.preset("prompt").updated(
        {"backbone.name": options.backbone, "model.image_size": options.size, **COMMON}
    )
    base = with_defaults(replace(base, training=base.training.lasting(options.epochs)))
    configs = {settings: head_config(base, settings) for settings in options.heads}
    clip = load_clip(
        max((config.backbone for config in configs.values()), key=lambda backbone: backbone.read_blocks[-1])
    )
    heads = {settings: build_head(config, clip) for settings, config in configs.items()}
    samples, held_out = split_validation(load_dataset(options.data).train, base)
    train(heads, samples, base, clip)
    fit_prototypes(heads, samples, base)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for title, anomalies in (("synthetic anomalies", synthetic), ("small defects", small)):
        found = validate(heads, held_out, base, clip, anomalies)
        console.print(_table(f"held out, {title}; {Path(options.backbone).name}, {options.size} px", found))


def _table(title: str, found: Mapping[str, Mapping[str, CategoryMetrics]]) -> Table:
    """Tabulate the mean over the categories for each head, in percent."""
    table = Table(title=title, title_justify="left")
    for column in ("head", "I-AUC", "P-AUC", "P-mAP", "AUPRO"):
        table.add_column(column, justify="left" if column == "head" else "right", no_wrap=True)
    for name, categories in found.items():
        mean = mean_metrics(categories.values())
        figures = (mean.image_auroc, mean.pixel_auroc, mean.pixel_ap, mean.aupro)
        table.add_row(name, *("–" if value is None else f"{100 * value:.1f}" for value in figures))
    return table


if __name__ == "__main__":
    main()
