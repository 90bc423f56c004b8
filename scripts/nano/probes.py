"""Probes of nano on scenes outside its training: zero-shot from words alone, and linear probes of frozen tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from transformers import CLIPModel, CLIPTokenizer

from clipada.evaluation.metrics import auroc, average_precision
from clipada.randomness import derived_generator
from nano.captions import ANOMALOUS, GROUPS, NORMAL, PHRASES, captions, patch_words
from nano.scenes import Palette, Scenes, draw_scenes
from nano.tower import IMAGE_SIZE, MEAN, PATCH, STD
from nano.twins import draw_twins

BATCH = 32
"""Batch size of the vision tower."""

WORST = 2
"""Number of patches that make the score of a part."""

RIDGE = 1e-2
"""Weight of the squared norm in linear probes, relative to the mean variance of the features."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Results of the probes, 0..1, on scenes that are not in the training.

    New pairs are pairs of known materials and colors that training leaves out. New concepts are two materials and two
    kinds of defect that it leaves out.

    Attributes:
        image_material: Zero-shot accuracy of the material of whole-surface images, new pairs.
        image_colour: The same of the color.
        retrieval: Share of new-pair images whose own caption is the nearest of 64.
        image_anomaly: Zero-shot AUROC of images with a defect against those without, new pairs.
        patch_material: Zero-shot accuracy of patches, new pairs.
        patch_colour: The same of the color.
        patch_anomaly: Zero-shot AUROC of defective patches, new pairs.
        patch_anomaly_new: The same, new concepts.
        probe_anomaly: AUROC of a linear probe of raw patch tokens for defects, trained and tested on new concepts,
            by block counted from 1.
        probe_anomaly_ap: The same as average precision.
        probe_parts: AUROC of images of parts with a defect against sound ones, by the mean of the ``WORST`` patches
            of a linear probe for defects that was trained on other parts, by block.
        probe_parts_ap: Average precision of the same probe's patches, by block.
        probe_material: Accuracy of a linear probe of the class token for the two new materials, last block.
        probe_defect: Accuracy of a linear probe of defective patches for the two new defects, last block.
    """

    image_material: float
    image_colour: float
    retrieval: float
    image_anomaly: float
    patch_material: float
    patch_colour: float
    patch_anomaly: float
    patch_anomaly_new: float
    probe_anomaly: tuple[float, ...]
    probe_anomaly_ap: tuple[float, ...]
    probe_parts: tuple[float, ...]
    probe_parts_ap: tuple[float, ...]
    probe_material: float
    probe_defect: float

    def to_dict(self) -> dict[str, Any]:
        """Return the results by name, ready for JSON."""
        return asdict(self)


class Probe:
    """CLIP in `transformers`' format and its tokenizer, loaded with plain `transformers`.

    Args:
        clip: The model, which is set to evaluation mode.
        tokenizer: Its tokenizer.
    """

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
        self.clip, self.tokenizer = clip.train(False), tokenizer

    @classmethod
    def load(cls, folder: Path) -> Probe:
        """Read a CLIP folder, in float32."""
        return cls(CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPTokenizer.from_pretrained(folder))

    @torch.no_grad()
    def tokens(self, images: Tensor) -> list[Tensor]:
        """Return the raw outputs of every block, class token first: ``(n, 1 + N, D)`` each."""
        pixels = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        batches = [
            self.clip.vision_model(batch, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[1:]
            for batch in torch.split(pixels, BATCH)
        ]
        return [torch.cat(block) for block in zip(*batches, strict=True)]

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Project tokens of the last block into the text embedding space, normalized."""
        return F.normalize(self.clip.visual_projection(self.clip.vision_model.post_layernorm(tokens)), dim=-1)

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """Encode texts as unit vectors, ``(n, E)``."""
        ids = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(self.clip.get_text_features(ids).pooler_output, dim=-1)

    def words(self, group: str) -> Tensor:
        """Return a unit vector for each word of a group: the mean over its phrases, ``(words, E)``."""
        forms = [self.read([form.format(word) for word in GROUPS[group]]) for form in PHRASES[group]]
        return F.normalize(torch.stack(forms).mean(0), dim=-1)

    def anomaly_direction(self) -> Tensor:
        """Return the direction from phrases without defect to those with one, ``(E,)``."""
        return self.read(list(ANOMALOUS)).mean(0) - self.read(list(NORMAL)).mean(0)


def measure(probe: Probe, *, count: int = 256, seed: int = 1) -> Figures:
    """Measure all results on ``count`` images for each palette and purpose, of ``IMAGE_SIZE`` pixels."""
    pairs = _scenes(Palette.new_pairs(), count, derived_generator(seed, "new pairs"))
    last = probe.tokens(pairs.images)[-1]
    truth = patch_words(pairs, PATCH)
    patches, images = probe.embed(last[:, 1:]), probe.embed(last[:, 0])
    plain = pairs.shapes < 0
    direction = probe.anomaly_direction()
    spoiled = (pairs.defects >= 0).flatten(1).any(1)
    concepts = [_scenes(Palette.new_concepts(), count, derived_generator(seed, "new", part)) for part in ("a", "b")]
    tokens = [probe.tokens(scenes.images) for scenes in concepts]
    labels = [patch_words(scenes, PATCH).defective.flatten() for scenes in concepts]
    by_block = [_probe_anomaly(learned, tested, labels) for learned, tested in zip(*tokens, strict=True)]
    on_parts = _probe_parts(probe, count, seed)
    unseen = probe.embed(tokens[1][-1][:, 1:]).flatten(0, 1) @ direction
    return Figures(
        image_material=_accuracy(images[plain] @ probe.words("material").T, pairs.materials[plain, 0]),
        image_colour=_accuracy(images[plain] @ probe.words("colour").T, pairs.colors[plain, 0]),
        retrieval=_retrieval(probe, images, captions(pairs, derived_generator(seed, "captions"))),
        image_anomaly=auroc((images @ direction).numpy(), spoiled.numpy()),
        patch_material=_accuracy(patches @ probe.words("material").T, truth.words["material"]),
        patch_colour=_accuracy(patches @ probe.words("colour").T, truth.words["colour"]),
        patch_anomaly=_auroc((patches @ direction).flatten(), truth.defective.flatten()),
        patch_anomaly_new=_auroc(unseen, labels[1]),
        probe_anomaly=tuple(area for area, _ in by_block),
        probe_anomaly_ap=tuple(precision for _, precision in by_block),
        probe_parts=tuple(area for area, _ in on_parts),
        probe_parts_ap=tuple(precision for _, precision in on_parts),
        probe_material=_probe_material([block[-1] for block in tokens], concepts),
        probe_defect=_probe_defect([block[-1] for block in tokens], concepts),
    )


def linear_probe(features: Tensor, targets: Tensor, tested: Tensor) -> Tensor:
    """Fit a ridge regression in closed form on standardized features and apply it.

    Args:
        features: ``(n, D)``, training features.
        targets: ``(n,)``, -1 or 1; both classes have the same weight.
        tested: ``(m, D)``, test features.

    Returns:
        ``(m,)`` scores; higher means closer to 1.
    """
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-6)
    ones = torch.ones(len(features), 1, dtype=torch.float64)
    known = torch.cat(((features - mean).double() / deviation, ones), 1)
    positive = targets > 0
    weight = torch.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())[:, None].double()
    gram = known.T @ (weight * known) + RIDGE * torch.eye(known.shape[1])
    solution = torch.linalg.solve(gram, known.T @ (weight[:, 0] * targets.double()))
    scores: Tensor = ((tested - mean).double() / deviation) @ solution[:-1] + solution[-1]
    return scores


def _scenes(palette: Palette, count: int, generator: Generator) -> Scenes:
    return draw_scenes(count, (IMAGE_SIZE, IMAGE_SIZE), palette, generator, defective=0.5)


def _accuracy(logits: Tensor, target: Tensor) -> float:
    known = target.flatten() >= 0
    return float((logits.flatten(0, -2).argmax(-1)[known] == target.flatten()[known]).float().mean())


def _auroc(scores: Tensor, defective: Tensor) -> float:
    known = defective >= 0
    return auroc(scores[known].numpy(), (defective[known] == 1).numpy())


def _retrieval(probe: Probe, images: Tensor, texts: list[str], among: int = 64) -> float:
    """Return the share of images whose own caption is the nearest among ``among``."""
    pairs = zip(torch.split(images, among), torch.split(probe.read(texts), among), strict=True)
    hits = [((seen @ read.T).argmax(1) == torch.arange(len(seen))).float() for seen, read in pairs]
    return float(torch.cat(hits).mean())


def _probe_anomaly(learned: Tensor, tested: Tensor, labels: list[Tensor]) -> tuple[float, float]:
    """Return AUROC and average precision of a linear probe of patch tokens."""
    kept = [label >= 0 for label in labels]
    targets = labels[0][kept[0]].float() * 2 - 1
    parts = [block[:, 1:].flatten(0, 1)[keep] for block, keep in zip((learned, tested), kept, strict=True)]
    scores = linear_probe(parts[0], targets, parts[1]).numpy()
    truth = (labels[1][kept[1]] == 1).numpy()
    return auroc(scores, truth), average_precision(scores, truth)


def _probe_parts(probe: Probe, count: int, seed: int) -> list[tuple[float, float]]:
    """Return image AUROC and patch average precision on parts, by block."""
    size, palette = (IMAGE_SIZE, IMAGE_SIZE), Palette.training()
    parts = [
        draw_twins(count // 2, size, (0, 0), palette, derived_generator(seed, "parts", part)) for part in ("a", "b")
    ]
    labels = [patch_words(scenes, PATCH).defective for scenes in parts]
    spoiled = (parts[1].defects >= 0).flatten(1).any(1)
    learned, tested = ([block[:, 1:].flatten(0, 1) for block in probe.tokens(scenes.images)] for scenes in parts)
    known, rest = (label.flatten() >= 0 for label in labels)
    figures = []
    for features, others in zip(learned, tested, strict=True):
        scores = linear_probe(features[known], labels[0].flatten()[known].float() * 2 - 1, others)
        worst = scores.view_as(labels[1]).topk(WORST, dim=1).values.mean(1)
        precision = average_precision(scores[rest].numpy(), (labels[1].flatten()[rest] == 1).numpy())
        figures.append((auroc(worst.numpy(), spoiled.numpy()), precision))
    return figures


def _probe_material(last: list[Tensor], scenes: list[Scenes]) -> float:
    """Return the accuracy for the background's material of images without objects."""
    names = [one.materials[:, 0] for one in scenes]
    highest = max(int(name.max()) for name in names)
    targets = [(name == highest).float() * 2 - 1 for name in names]
    plain = [one.shapes < 0 for one in scenes]
    scores = linear_probe(last[0][plain[0], 0], targets[0][plain[0]], last[1][plain[1], 0])
    return float(((scores > 0) == (targets[1][plain[1]] > 0)).float().mean())


def _probe_defect(last: list[Tensor], scenes: list[Scenes]) -> float:
    """Return the accuracy for the kind of defect of defective patches."""
    kinds = [F.max_pool2d(one.defects.float()[:, None], PATCH).flatten(1).long().flatten() for one in scenes]
    kept = [patch_words(one, PATCH).defective.flatten() == 1 for one in scenes]
    highest = max(int(kind.max()) for kind in kinds)
    targets = [(kind[keep] == highest).float() * 2 - 1 for kind, keep in zip(kinds, kept, strict=True)]
    parts = [block[:, 1:].flatten(0, 1)[keep] for block, keep in zip(last, kept, strict=True)]
    scores = linear_probe(parts[0], targets[0], parts[1])
    return float(((scores > 0) == (targets[1] > 0)).float().mean())
