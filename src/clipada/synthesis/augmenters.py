"""The ten texture augmenters of DRAEM, with imgaug's meaning of their parameters, a batch at once.

Every ``random_*`` takes images ``(B, 3, H, W)`` float32 of range 0..1, draws parameters for each image of its own, and
returns new images of the same shape and range. What imgaug does to 8-bit levels is done to floats wherever that is the
same up to rounding; `equalise` and `posterise`, which exist only on levels, count in 8-bit ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.enhance import equalize, sharpness
from kornia.geometry.transform import rotate as kornia_rotate
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, integers, uniform

Augmenter = Callable[[Tensor, Generator], Tensor]


def augment(images: Tensor, count: int, generator: Generator) -> Tensor:
    """Change every image by ``count`` distinct augmenters, drawn in random order for each image.

    Args:
        images: ``(B, 3, H, W)`` float32 of range 0..1; left as they are.
        count: How many of the ten augmenters each image meets.
        generator: Source of the choice and of all parameters.

    Returns:
        ``(B, 3, H, W)`` float32 of range 0..1.
    """
    images = images.clone()
    augmenters = tuple(AUGMENTERS.values())
    for step in draw_order(len(images), count, generator).T:
        for number, augmenter in enumerate(augmenters):
            chosen = (step == number).nonzero().flatten()
            if len(chosen):
                images[chosen] = augmenter(images[chosen], generator)
    return images


def draw_order(batch: int, count: int, generator: Generator) -> Tensor:
    """``(batch, count)`` numbers of augmenters, distinct within a row, in order of application."""
    keys = torch.rand(batch, len(AUGMENTERS), generator=generator, device=generator.device)
    return keys.argsort(dim=1)[:, :count]


def random_gamma(images: Tensor, generator: Generator) -> Tensor:
    """Gamma contrast ``x ** g``, ``g`` from 0.5..2 for each channel."""
    return images ** uniform(0.5, 2, (len(images), 3, 1, 1), generator)


def random_brightness(images: Tensor, generator: Generator) -> Tensor:
    """Multiply by 0.8..1.2, then add -30..30 of 255.

    imgaug does so to the brightness channel of a colour space it draws; to RGB, it is the same for luma.
    """
    factor = uniform(0.8, 1.2, (len(images), 1, 1, 1), generator)
    return change_brightness(images, factor, uniform(-30, 30, factor.shape, generator) / 255)


def random_sharpness(images: Tensor, generator: Generator) -> Tensor:
    """Pillow's ``EnhanceSharpness``: blend with a blurred copy, by a factor of 0 (blurred) to 3 (sharpened)."""
    if min(images.shape[-2:]) < 3:  # no pixel but the border, which the filter leaves as it is
        return images
    sharpened: Tensor = sharpness(images, uniform(0, 3, (len(images),), generator))
    return sharpened


def random_hue_saturation(images: Tensor, generator: Generator) -> Tensor:
    """Add -50..50 of 255 to hue and to saturation, 255 being a full turn of hue."""
    hue, saturation = uniform(-50, 50, (2, len(images)), generator) / 255
    return shift_hue_saturation(images, hue, saturation)


def random_solarise(images: Tensor, generator: Generator) -> Tensor:
    """For half of the images, invert pixels from a threshold of 32..128 of 255 on."""
    threshold = uniform(32, 128, (len(images), 1, 1, 1), generator) / 255
    never = torch.full_like(threshold, torch.inf)
    return solarise(images, torch.where(chance(0.5, threshold.shape, generator), threshold, never))


def random_posterise(images: Tensor, generator: Generator) -> Tensor:
    """Keep the 1..8 highest bits of each 8-bit level."""
    return posterise(images, integers(1, 8, (len(images), 1, 1, 1), generator))


def invert(images: Tensor, _: Generator | None = None) -> Tensor:
    """``1 - x``. Nothing is drawn."""
    return 1 - images


def autocontrast(images: Tensor, _: Generator | None = None) -> Tensor:
    """Stretch each channel to the full range; a channel of one value stays. Nothing is drawn."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    span = high - low
    flat = span < 1 / 255
    return torch.where(flat, images, (images - low) / span.clamp(min=1 / 255))


def equalise(images: Tensor, _: Generator | None = None) -> Tensor:
    """Equalise the histogram of each channel's 8-bit levels, as Pillow does. Nothing is drawn."""
    equalised: Tensor = equalize(_levels(images) / 255)
    return equalised


def random_rotation(images: Tensor, generator: Generator) -> Tensor:
    """Rotate by -45..45 degrees, zero outside."""
    return rotate(images, uniform(-45, 45, (len(images),), generator))


def change_brightness(images: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """``factor * x + offset``, clamped to 0..1."""
    return (factor * images + offset).clamp(0, 1)


def shift_hue_saturation(images: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Add ``hue`` (in turns) and ``saturation`` (range 0..1, clamped), both ``(B,)``, in the HSV space."""
    h, s, v = rgb_to_hsv(images).unbind(1)
    h = (h + 2 * math.pi * hue[:, None, None]) % (2 * math.pi)
    s = (s + saturation[:, None, None]).clamp(0, 1)
    shifted: Tensor = hsv_to_rgb(torch.stack((h, s, v), dim=1))
    return shifted.clamp(0, 1)


def solarise(images: Tensor, threshold: Tensor) -> Tensor:
    """``1 - x`` where ``x >= threshold``."""
    return torch.where(images >= threshold, 1 - images, images)


def posterise(images: Tensor, bits: Tensor) -> Tensor:
    """Set all but the highest ``bits`` of each 8-bit level to zero."""
    step = 2.0 ** (8 - bits)
    return (_levels(images) / step).floor() * step / 255


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate ``(B, C, H, W)`` about the centre, each image by its own ``degrees`` ``(B,)``: bilinear, zero outside."""
    rotated: Tensor = kornia_rotate(images, degrees)
    return rotated


def _levels(images: Tensor) -> Tensor:
    """The nearest 8-bit levels, as floats 0..255."""
    return (images * 255).round()


AUGMENTERS: dict[str, Augmenter] = {
    "gamma": random_gamma,
    "brightness": random_brightness,
    "sharpness": random_sharpness,
    "hue_saturation": random_hue_saturation,
    "solarise": random_solarise,
    "posterise": random_posterise,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalise": equalise,
    "rotate": random_rotation,
}
"""The ten augmenters by name."""
