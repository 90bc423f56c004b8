"""Ten texture augmenters of DRAEM on batches, with the parameters of imgaug.

Every ``random_*`` takes images ``(B, 3, H, W)`` float32 of range 0..1, draws parameters for each image separately, and
returns new images of the same shape and range. imgaug works on 8-bit levels; here floats are used where the result is
the same up to rounding. `equalize` and `posterize` are defined on levels only and use 8-bit ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from clipada.synthesis.affine import rotate
from clipada.synthesis.draws import chance, integers, uniform

Augmenter = Callable[[Tensor, Generator], Tensor]

_TINY = 1e-8
"""Smallest divisor, to avoid division by zero."""


def augment(images: Tensor, count: int, generator: Generator) -> list[Tensor]:
    """Apply ``count`` distinct augmenters to each image, drawn in random order for each image.

    Args:
        images: ``(B, 3, H, W)`` float32 of range 0..1; not modified.
        count: Number of augmenters per image, of the ten.
        generator: Source of the choice and of all parameters.

    Returns:
        ``B`` images ``(1, 3, H, W)`` float32 of range 0..1.
    """
    changed = list(images[:, None].contiguous())
    augmenters = tuple(AUGMENTERS.values())
    for step in draw_order(len(images), count, generator).T.tolist():
        for number, augmenter in enumerate(augmenters):
            chosen = [place for place, drawn in enumerate(step) if drawn == number]
            if chosen:
                alike = [changed[place] for place in chosen]
                batch = alike[0] if len(alike) == 1 else torch.cat(alike)
                for place, image in zip(chosen, augmenter(batch, generator)[:, None], strict=True):
                    changed[place] = image
    return changed


def draw_order(batch: int, count: int, generator: Generator) -> Tensor:
    """Draw ``(batch, count)`` indices of augmenters, distinct within a row, in order of application."""
    keys = torch.rand(batch, len(AUGMENTERS), generator=generator, device=generator.device)
    return keys.argsort(dim=1)[:, :count]


def random_gamma(images: Tensor, generator: Generator) -> Tensor:
    """Apply gamma contrast ``x ** g``, ``g`` from 0.5..2 for each channel."""
    exponents = uniform(0.5, 2, (len(images), 3, 1, 1), generator)
    return images.log().mul_(exponents).exp_()  # faster than a power


def random_brightness(images: Tensor, generator: Generator) -> Tensor:
    """Multiply by 0.8..1.2, then add -30..30 of 255.

    imgaug changes the brightness channel of a randomly drawn color space; on RGB the effect on luma is the same.
    """
    factor = uniform(0.8, 1.2, (len(images), 1, 1, 1), generator)
    return change_brightness(images, factor, uniform(-30, 30, factor.shape, generator) / 255)


def random_sharpness(images: Tensor, generator: Generator) -> Tensor:
    """Blend with a blurred copy by a factor of 0 (blurred) to 3 (sharpened), like Pillow's ``EnhanceSharpness``."""
    return change_sharpness(images, uniform(0, 3, (len(images), 1, 1, 1), generator))


def random_hue_saturation(images: Tensor, generator: Generator) -> Tensor:
    """Add -50..50 of 255 to hue and to saturation, 255 being a full turn of hue."""
    hue, saturation = uniform(-50, 50, (2, len(images)), generator) / 255
    return shift_hue_saturation(images, hue, saturation)


def random_solarize(images: Tensor, generator: Generator) -> Tensor:
    """Solarize half of the images: invert pixels from a threshold of 32..128 of 255 on."""
    threshold = uniform(32, 128, (len(images), 1, 1, 1), generator) / 255
    never = torch.full_like(threshold, torch.inf)
    return solarize(images, torch.where(chance(0.5, threshold.shape, generator), threshold, never))


def random_posterize(images: Tensor, generator: Generator) -> Tensor:
    """Keep the 1..8 highest bits of each 8-bit level."""
    return posterize(images, integers(1, 8, (len(images), 1, 1, 1), generator))


def invert(images: Tensor, _: Generator | None = None) -> Tensor:
    """Return ``1 - x``. Nothing is drawn."""
    return 1 - images


def autocontrast(images: Tensor, _: Generator | None = None) -> Tensor:
    """Stretch each channel to the full range; a constant channel stays. Nothing is drawn."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high - low < 1 / 255
    return (images - low.masked_fill(flat, 0)).div_((high - low).masked_fill(flat, 1))


def equalize(images: Tensor, _: Generator | None = None) -> Tensor:
    """Equalize the histogram of each channel's 8-bit levels, as Pillow does. Nothing is drawn."""
    channels = torch.arange(images.shape[0] * images.shape[1], device=images.device)
    places = _levels(images).add_(256 * channels.view(*images.shape[:2], 1, 1)).int().flatten()
    counts = torch.bincount(places, minlength=256 * len(channels)).view(-1, 256)
    highest = counts.gather(1, (255 - counts.flip(1).bool().int().argmax(1, keepdim=True)))
    step = (counts.sum(1, keepdim=True) - highest) // 255
    below = counts.cumsum(1) - counts
    table = torch.where(step > 0, (below + step // 2) // step.clamp(min=1), torch.arange(256, device=images.device))
    return (table.clamp(max=255) / 255).flatten().index_select(0, places).view_as(images)


def random_rotation(images: Tensor, generator: Generator) -> Tensor:
    """Rotate by -45..45 degrees, zero outside."""
    return rotate(images, uniform(-45, 45, (len(images),), generator))


def change_brightness(images: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Return ``factor * x + offset``, clamped to 0..1."""
    return (factor * images).add_(offset).clamp_(0, 1)


def change_sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Return ``factor * x + (1 - factor) * blurred``, clamped to 0..1; the border stays.

    The blur is Pillow's ``SMOOTH``: weight 5 for the pixel, 1 for each of its eight neighbors.
    """
    if min(images.shape[-2:]) < 3:
        return images.clone()
    inner = images[..., 1:-1, 1:-1]
    rows = (images[..., :-2, :] + images[..., 1:-1, :]).add_(images[..., 2:, :])
    around = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    sharpened = images.clone()
    sharpened[..., 1:-1, 1:-1] = around.add_(inner, alpha=4).div_(13).lerp_(inner, factor).clamp_(0, 1)
    return sharpened


def shift_hue_saturation(images: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Add ``hue`` (in turns) and ``saturation`` (range 0..1, clamped), both ``(B,)``, in the HSV space.

    With the hue ``h`` in sixths of a turn, a channel is ``v - v s max(0, min(k, 4 - k, 1))``, ``k = (n + h) mod 6``,
    ``n`` = 5, 3, 1 for red, green, blue. If several channels are highest, the first determines the hue.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    span = value - torch.minimum(torch.minimum(red, green), blue)
    reddish = torch.eq(
        value, red, out=torch.empty_like(value)
    )  # multiplying by masks is several times faster than `where`
    greenish = torch.eq(value, green, out=torch.empty_like(value))
    greenish.addcmul_(greenish, reddish, value=-1)
    bluish = (1 - reddish).sub_(greenish)
    sixths = (green - blue).mul_(reddish).addcmul_(greenish, blue - red).addcmul_(bluish, red - green)
    sixths.div_(span.clamp(min=_TINY)).add_(greenish, alpha=2).add_(bluish, alpha=4)
    turns = sixths.div_(6).add_(1 + hue[:, None, None])  # + 1: `frac_` below needs positive values
    chroma = span.div_(value.clamp(min=_TINY)).add_(saturation[:, None, None]).clamp_(0, 1).mul_(value)
    shifted = torch.empty_like(images)
    for channel, number in enumerate((5, 3, 1)):
        turned = (turns + number / 6).frac_().mul_(6)
        share = torch.minimum(turned, 4 - turned).clamp_(0, 1)
        torch.addcmul(value, share, chroma, value=-1, out=shifted[:, channel])
    return shifted


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Return ``1 - x`` where ``x >= threshold``, else ``x``."""
    bright = torch.ge(images, threshold, out=torch.empty_like(images))
    return torch.lerp(images, 1 - images, bright)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Set all but the highest ``bits`` of each 8-bit level to zero."""
    step = 2.0 ** (8 - bits)
    return _levels(images).div_(step).floor_().mul_(step / 255)


def _levels(images: Tensor) -> Tensor:
    """Round to 8-bit levels, as floats 0..255."""
    return (images * 255).round_()


AUGMENTERS: dict[str, Augmenter] = {
    "gamma": random_gamma,
    "brightness": random_brightness,
    "sharpness": random_sharpness,
    "hue_saturation": random_hue_saturation,
    "solarize": random_solarize,
    "posterize": random_posterize,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "rotate": random_rotation,
}
"""Ten augmenters by name."""
