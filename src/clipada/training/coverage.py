"""Coverage of a memory's rows: how well they stand for all patches of good images."""

from __future__ import annotations

import torch
from torch import Tensor

from clipada.training.answers import Answers
from clipada.training.copies import References

_COVERED_IMAGES, _COVERED_PATCHES = 8, 64
"""Images, and patches of each, whose distance to every patch is computed for the coverage."""


def coverage(units: Tensor, own: References, normal: Answers, inside: Tensor | None = None) -> float:
    """Compute how much nearer patches of good images are to all patches of other images than to the memory's rows.

    The farthest patch of each image counts, since it decides the image's score: a memory may well leave out what is
    near to all of its rows.

    Args:
        units: Tokens of all images and their copies, ``(m, N, L W)``, unit length in each block.
        own: These images, and those with answers.
        normal: The answers, without the image's own rows.
        inside: The patches of these images that count, ``(n, N)`` bool; ``None`` for all.

    Returns:
        The ratio of the mean largest distances, 0..1, in the block where it is least; 1 if there is only one image.
    """
    if own.originals == 1:
        return 1.0
    images, patches, blocks = units.shape[0], units.shape[1], normal.distances.shape[2]
    every = -(-len(own.places) // _COVERED_IMAGES)
    chosen, left_out = own.places[::every], own.left_out[::every]
    shown = torch.arange(patches) if inside is None else inside.any(dim=0).nonzero()[:, 0]
    places = shown[:: -(-len(shown) // _COVERED_PATCHES)]
    counted = torch.ones(len(chosen), len(places)) if inside is None else inside[::every, places].float()
    kept = _mean_largest(normal.distances[::every, places, :, 0].float(), counted)
    everything = torch.zeros(blocks)
    for block, tokens in enumerate(units.reshape(images, patches, blocks, -1).unbind(2)):
        asked = tokens[chosen][:, places].float()
        best = torch.full(asked.shape[:2], -1.0)
        for source, one in zip(own.sources.tolist(), tokens, strict=True):
            cosine = (asked @ one.float().T).amax(dim=2)
            same = (left_out == source)[:, None]
            best = torch.where(same, best, torch.maximum(best, cosine))
        everything[block] = _mean_largest((1 - best).unsqueeze(2), counted)[0]
    return float((everything / kept.clamp_min(1e-6)).clamp(0, 1).min())


def _mean_largest(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over images of the largest of ``(n, N, L)`` over patches that count, ``(n, N)``: ``(L,)``."""
    return (values * counted.unsqueeze(2)).amax(dim=1).mean(dim=0)
