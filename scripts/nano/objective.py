"""What nano learns: captions for images, words for patches, and each patch without its defect."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import integers
from nano.captions import ANOMALOUS, GROUPS, NORMAL, PHRASES, PatchWords
from nano.tower import Learner

GROUP_WEIGHTS = {"material": 0.5, "colour": 0.5, "shape": 0.5, "defect": 1.0}
"""Weight of each group of words."""

IMAGE_WEIGHT, MIDDLE_WEIGHT, ANOMALY_WEIGHT, OCCUPANCY_WEIGHT, CLEAN_WEIGHT = 0.5, 0.5, 2.0, 2.0, 4.0
"""Weights of the caption contrast, of all words read from the middle block, of defect against none, of where in the
patch the defect lies, and of the clean patch."""

PLAIN_WEIGHT = 1.0
"""Weight of the words told from the raw tokens by a linear layer, which text has no part in."""

SPOILT_WEIGHT, WORST_WEIGHT, WORST = 4.0, 2.0, 2
"""Weights of telling spoilt patches, and spoilt images by their worst patches, and how many those are."""

PARTS_SHARE = {"material": 0.3, "colour": 0.3, "shape": 0.3, "clean": 0.5}
"""How much of these losses counts where parts are looked at: their words are known by then."""

DEFECTIVE_SHARE = 4.0
"""How much more a defective patch counts than a sound one."""


def caption_loss(learner: Learner, tokens: Tensor, captions: list[str]) -> Tensor:
    """CLIP's symmetric contrast of images and captions; equal captions are no negatives of each other."""
    images, texts = learner.embed(tokens[:, 0]), learner.read(captions)
    logits = learner.clip.logit_scale.exp().clamp(max=100) * images @ texts.T
    same = torch.tensor([[one == other for other in captions] for one in captions]) & ~torch.eye(
        len(captions), dtype=torch.bool
    )
    logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(captions))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def patch_losses(
    learner: Learner, middle: Tensor, last: Tensor, truth: PatchWords, generator: Generator
) -> dict[str, Tensor]:
    """Losses of the patch objectives by name, weighted.

    Args:
        learner: Nano and its heads.
        middle: ``(n, 1 + N, D)``, raw tokens of the middle block.
        last: The same of the last block.
        truth: What lies under the patches.
        generator: Source of the phrases' forms.
    """
    vectors = learner.read(_phrases(generator))
    spans = [len(words) for words in GROUPS.values()] + [1, 1]
    *groups, anomalous, normal = torch.split(vectors, spans)
    scale = learner.patch_scale.exp().clamp(max=100)
    readings = ((learner.embed(last[:, 1:]), 1.0), (F.normalize(learner.middle(middle[:, 1:]), dim=-1), MIDDLE_WEIGHT))
    raw = last[:, 1:].float()
    losses: dict[str, Tensor] = {}
    plain = learner.plain(raw).float().split([len(words) for words in GROUPS.values()], dim=2)
    for (name, target), logits in zip(truth.words.items(), plain, strict=True):
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight=_importance(name), ignore_index=-100)
        losses[name] = PLAIN_WEIGHT * GROUP_WEIGHTS[name] * loss
    for patches, weight in readings:
        for (name, target), words in zip(truth.words.items(), groups, strict=True):
            logits = (scale * patches @ words.T).flatten(0, 1).float()
            loss = F.cross_entropy(logits, target.flatten(), weight=_importance(name), ignore_index=-100)
            losses[name] = losses[name] + weight * GROUP_WEIGHTS[name] * loss
        logits = (scale * patches @ (anomalous - normal).T).squeeze(2) + learner.binary_bias
        known = truth.defective >= 0
        binary = F.binary_cross_entropy_with_logits(
            logits[known].float(),
            truth.defective[known].float(),
            pos_weight=torch.tensor(DEFECTIVE_SHARE),
        )
        losses["anomaly"] = losses.get("anomaly", torch.zeros(())) + weight * ANOMALY_WEIGHT * binary
    occupancy = F.binary_cross_entropy_with_logits(learner.occupancy(raw).float(), truth.occupancy)
    clean = F.l1_loss(learner.clean(raw).float(), truth.clean)
    return losses | {"occupancy": OCCUPANCY_WEIGHT * occupancy, "clean": CLEAN_WEIGHT * clean}


def verdict_losses(learner: Learner, last: Tensor, truth: PatchWords) -> dict[str, Tensor]:
    """Losses of one linear layer that calls patches spoilt, for every patch and for the worst of each image.

    The second is what an inspection asks: may a sound image hold no patch that looks as bad as a defect.
    """
    logits = learner.spoilt(last[:, 1:].float()).squeeze(2)
    known, spoilt = truth.defective >= 0, truth.defective == 1
    patches = F.binary_cross_entropy_with_logits(
        logits[known], spoilt[known].float(), pos_weight=torch.tensor(DEFECTIVE_SHARE)
    )
    clear = spoilt.any(1) | (truth.defective == 0).all(1)
    worst = logits.topk(WORST, dim=1).values.mean(1)
    images = F.binary_cross_entropy_with_logits(worst[clear], spoilt.any(1)[clear].float())
    return {"spoilt": SPOILT_WEIGHT * patches, "worst": WORST_WEIGHT * images}


def _importance(group: str) -> Tensor:
    """The weight of each word of a group."""
    importance = torch.ones(len(GROUPS[group]))
    if group == "defect":
        importance[:-1] = DEFECTIVE_SHARE
    return importance


def _phrases(generator: Generator) -> list[str]:
    """Each group's words in a form drawn for the group, then a phrase for any defect and one for none."""

    def one_of(forms: tuple[str, ...]) -> str:
        return forms[int(integers(0, len(forms) - 1, (), generator))]

    phrases: list[str] = []
    for group, words in GROUPS.items():
        form = one_of(PHRASES[group])
        phrases += [form.format(word) for word in words]
    return [*phrases, one_of(ANOMALOUS), one_of(NORMAL)]
