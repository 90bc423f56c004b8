"""Objectives of nano: captions of images; words, clean pixels, spectra and views of patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import integers
from nano.captions import ANOMALOUS, GROUPS, NORMAL, PHRASES, PatchWords
from nano.tower import PATCH, Learner
from nano.views import Views, centers

GROUP_WEIGHTS = {"material": 0.5, "colour": 0.5, "shape": 0.5, "defect": 1.0}
"""Weight of each group of words."""

IMAGE_WEIGHT, MIDDLE_WEIGHT, ANOMALY_WEIGHT, OCCUPANCY_WEIGHT, CLEAN_WEIGHT = 0.5, 0.5, 2.0, 2.0, 4.0
"""Weights of the caption contrast, of all words read from the middle block, of defect against none, of the defect's
position in the patch, and of the clean patch."""

PLAIN_WEIGHT = 1.0
"""Weight of the words predicted from the raw tokens by a linear layer, without text."""

WORDS_WEIGHT = 0.5
"""Weight of captions and words together, relative to spectra and views."""

SPECTRUM_WEIGHT, DISTANCE_WEIGHT = 3.0, 1.0
"""Weights of predicting the spectrum around a patch, and of matching distances between spectra."""

CONTRAST_WEIGHT, FAMILIAR_WEIGHT = 0.5, 1.0
"""Weights of matching a patch in another view, and of defective patches being unfamiliar."""

TEMPERATURE, FAMILIAR_TEMPERATURE = 0.1, 0.05
"""Temperatures of the contrast, and of the soft maximum over the patches of the two views without defect."""

DEFECTIVE_SHARE = 4.0
"""Weight of a defective patch relative to a clean one."""

COMPARED = 384
"""Patches whose distances across images are compared."""

SOUGHT = 4
"""Inverse of the share of patches that are matched in the other view."""

NEAR = 1.5
"""Distance from the right position, in patches, within which no patch is a negative."""

LEAST_DEFECT = 0.06
"""Share of defective pixels from which a patch is defective."""


def caption_loss(learner: Learner, tokens: Tensor, captions: list[str]) -> Tensor:
    """Compute CLIP's symmetric contrast of images and captions; equal captions are not negatives of each other."""
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
    """Compute the weighted losses of the patch objectives by name.

    Args:
        learner: Nano and its heads.
        middle: ``(n, 1 + N, D)``, raw tokens of the middle block.
        last: The same of the last block.
        truth: Ground truth of the patches.
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


def spectrum_losses(
    learner: Learner, middle: Tensor, last: Tensor, spectra: Tensor, generator: Generator
) -> dict[str, Tensor]:
    """Compute the losses of predicting spectra, by an auxiliary linear layer and by the distances between patches.

    Args:
        learner: Nano and its heads.
        middle: ``(n, 1 + N, D)``, raw tokens of the middle block.
        last: The same of the last block.
        spectra: ``(n, N, CHANNELS)``, from ``log_spectra``.
        generator: Source of the choice of patches whose distances across images are compared.
    """
    target = learner.standardized(spectra)
    some = torch.randperm(target.shape[0] * target.shape[1], generator=generator)[:COMPARED]
    losses = {"spectrum": torch.zeros(()), "distance": torch.zeros(())}
    for tokens, head, weight in ((last, learner.spectrum, 1.0), (middle, learner.middle_spectrum, MIDDLE_WEIGHT)):
        patches = tokens[:, 1:].float()
        error = F.smooth_l1_loss(head(patches), target.clamp(-6, 6), beta=0.2)
        losses["spectrum"] = losses["spectrum"] + weight * SPECTRUM_WEIGHT * error
        scaled = (patches - patches.mean((0, 1))) / patches.std((0, 1)).clamp_min(1e-3)
        apart = _distances_differ(scaled, target)
        apart = apart + _distances_differ(scaled.flatten(0, 1)[some], target.flatten(0, 1)[some])
        losses["distance"] = losses["distance"] + weight * DISTANCE_WEIGHT * apart
    return losses


def view_losses(
    learner: Learner, middle: Tensor, last: Tensor, views: Views, generator: Generator
) -> dict[str, Tensor]:
    """Compute the losses of matching patches between views, and of defective patches matching none.

    Args:
        learner: Nano and its heads.
        middle: ``(3 n, 1 + N, D)``, raw tokens of the middle block, view by view.
        last: The same of the last block.
        views: Views of the scenes.
        generator: Source of the choice of patches to match.
    """
    amount = F.avg_pool2d(views.defects, PATCH).flatten(1)
    defective, sound = amount >= LEAST_DEFECT, amount == 0
    losses = {"contrast": torch.zeros(()), "familiar": torch.zeros(())}
    for name, tokens, weight in (("last", last, 1.0), ("middle", middle, MIDDLE_WEIGHT)):
        unit = F.normalize(F.layer_norm(tokens[:, 1:].float(), tokens.shape[-1:]), dim=-1)
        unit = unit.view(3, -1, *unit.shape[1:])
        contrast = _contrast(unit, views, 0, 1, None, unit[2][defective], generator)
        contrast = contrast + _contrast(unit, views, 2, 0, sound, unit[2][:0, 0], generator)
        losses["contrast"] = losses["contrast"] + weight * CONTRAST_WEIGHT * contrast / 2
        known = torch.cat((unit[0], unit[1]), 1)
        alike = FAMILIAR_TEMPERATURE * torch.logsumexp(unit[2] @ known.mT / FAMILIAR_TEMPERATURE, 2)
        scale, threshold = learner.familiar[name].unbind()
        in_view = _places(views, 2, 0)[1] | _places(views, 2, 1)[1]
        shares = torch.where(defective, DEFECTIVE_SHARE, 1.0) * (defective | (sound & in_view))
        logits = scale.exp() * (threshold - alike)
        errors = F.binary_cross_entropy_with_logits(logits, defective.float(), reduction="none")
        losses["familiar"] = losses["familiar"] + weight * FAMILIAR_WEIGHT * (errors * shares).sum() / shares.sum()
    return losses


def _contrast(
    unit: Tensor,
    views: Views,
    one: int,
    other: int,
    sound: Tensor | None,
    strangers: Tensor,
    generator: Generator,
) -> Tensor:
    """Compute the cross entropy of matching a view's patches among those of another (InfoNCE).

    Patches of the same scene are not negatives if they are near the right one or on the same surface.

    Args:
        unit: ``(3, n, N, D)``, patches of unit length.
        views: Views of the scenes.
        one: View of which some patches are matched.
        other: View in which they are matched.
        sound: ``(n, N)``, true for patches that can be matched; all if None.
        strangers: ``(m, D)``, further negatives.
        generator: Source of the choice of patches.
    """
    _, count, patches, _ = unit.shape
    side = views.images.shape[-1]
    places, found = _places(views, one, other)
    some = torch.randperm(patches, generator=generator)[: patches // SOUGHT]
    places, found = places[:, some], (found if sound is None else found & sound)[:, some]
    grid = unit[other].mT.reshape(count, -1, side // PATCH, side // PATCH)
    right = F.grid_sample(grid, (places / (side / 2))[:, :, None], padding_mode="border", align_corners=False)
    right = F.normalize(right[..., 0].mT, dim=-1)
    sought = unit[one][:, some]
    hit = (sought * right).sum(-1).flatten() / TEMPERATURE
    surfaces = [_surface(views.surfaces[view]) for view in (one, other)]
    alike = (surfaces[0][:, some, None] == surfaces[1][:, None]) & (surfaces[0][:, some, None] > 0)
    near = torch.cdist(places, centers(side, PATCH).expand(count, -1, -1)) < NEAR * PATCH
    wrong = (sought.flatten(0, 1) @ unit[other].flatten(0, 1).T / TEMPERATURE).view(count, -1, count, patches)
    own = torch.eye(count, dtype=torch.bool)[:, None, :, None]
    wrong = wrong.masked_fill(own & (near | alike)[:, :, None], float("-inf")).view(-1, count * patches)
    others = sought.flatten(0, 1) @ strangers.T / TEMPERATURE
    loss = torch.logsumexp(torch.cat((hit[:, None], wrong, others), 1), 1) - hit
    return loss.view_as(found)[found].mean() if found.any() else 0 * loss.mean()


def _places(views: Views, one: int, other: int) -> tuple[Tensor, Tensor]:
    """Return the positions ``(n, N, 2)`` of a view's patches in another, from its center in pixels, and if they fit."""
    side = views.images.shape[-1]
    scene = centers(side, PATCH) @ views.turns[one].mT + views.moves[one][:, None]
    places = (scene - views.moves[other][:, None]) @ torch.linalg.inv(views.turns[other]).mT
    return places, (places.abs() <= (side - PATCH) / 2).all(-1)


def _surface(surfaces: Tensor) -> Tensor:
    """Return 1 and 2 for patches completely on one of a scene's two surfaces, 0 elsewhere: ``(n, N)``."""
    highest, lowest = F.max_pool2d(surfaces, PATCH).flatten(1), -F.max_pool2d(-surfaces, PATCH).flatten(1)
    return torch.where(lowest > 0.99, 2, torch.where(highest < 0.01, 1, 0))


def _distances_differ(points: Tensor, target: Tensor) -> Tensor:
    """Compare distances of ``(..., N, D)`` with those of ``(..., N, K)``, both divided by the root of the channels."""
    found, wanted = (_root_mean_square(values) for values in (points, target))
    return (found - wanted).square().mean() / wanted.square().mean()


def _root_mean_square(points: Tensor) -> Tensor:
    """Compute the root mean square difference of all pairs, ``(..., N, N)``."""
    squares = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist").square()
    return (squares / points.shape[-1] + 1e-4).sqrt()


def _importance(group: str) -> Tensor:
    """Return the weight of each word of a group."""
    importance = torch.ones(len(GROUPS[group]))
    if group == "defect":
        importance[:-1] = DEFECTIVE_SHARE
    return importance


def _phrases(generator: Generator) -> list[str]:
    """Return each group's words in a randomly drawn form, then a phrase for any defect and one for none."""

    def one_of(forms: tuple[str, ...]) -> str:
        return forms[int(integers(0, len(forms) - 1, (), generator))]

    phrases: list[str] = []
    for group, words in GROUPS.items():
        form = one_of(PHRASES[group])
        phrases += [form.format(word) for word in words]
    return [*phrases, one_of(ANOMALOUS), one_of(NORMAL)]
