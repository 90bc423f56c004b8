"""Synthetic anomalies: DRAEM's recipe (Zavrtanik et al., ICCV 2021, section 3.3), a batch at once.

A normal image stays as it is, or gets an area of another texture blended in: where is the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clipada.config import SynthesisConfig
from clipada.errors import ImageError
from clipada.synthesis.augmenters import augment, rotate
from clipada.synthesis.draws import chance, integers, uniform
from clipada.synthesis.patches import moved_images, visible
from clipada.synthesis.perlin import perlin_noise
from clipada.synthesis.textures import TextureSource


@dataclass(frozen=True)
class AnomalySynthesiser:
    """Draws synthetic anomalies into normal images.

    Attributes:
        config: All settings.
        textures: Where textures come from.
    """

    config: SynthesisConfig
    textures: TextureSource

    def __call__(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Rotate some images, then draw an anomaly into some.

        Args:
            images: ``(B, 3, H, W)`` float32 of range 0..1: normal images, left as they are.
            generator: Source of all randomness, on the images' device.

        Returns:
            images: ``(B, 3, H, W)``, of range 0..1. Outside the mask they are the (rotated) normal images, bit by bit.
            masks: ``(B, 1, H, W)`` float32, 1 where anomalous; all 0 for images left normal.

        Raises:
            ImageError: The images are of another shape, type or device.
        """
        _require_images(images, generator)
        rotated = rotate_some(images, self.config, generator)
        masks = draw_masks(len(images), (images.shape[2], images.shape[3]), self.config, generator)
        return self.draw_anomalies(rotated, masks, images, generator)

    def draw_anomalies(
        self, images: Tensor, masks: Tensor, sources: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw anomalies where given masks want them.

        Args:
            images: ``(B, 3, H, W)`` of range 0..1.
            masks: ``(B, 1, H, W)``, 0 or 1; images whose mask is empty stay normal.
            sources: ``(B, 3, H, W)`` images that parts may be taken from: ``images`` before they were rotated.
            generator: Source of all randomness.

        Returns:
            images: ``(B, 3, H, W)``.
            masks: ``(B, 1, H, W)``: those given, less the areas in which a part of another image cannot be told from
                what was there.
        """
        anomalous = masks.flatten(1).any(dim=1).nonzero().flatten()
        if not len(anomalous):
            return images, masks
        textures, from_batch = self.draw_textures(anomalous, sources, generator)
        normal, areas = images[anomalous], masks[anomalous]
        blended = blend(normal, textures.to(images.dtype), self.config.blend_limit, generator)
        areas[from_batch] *= visible(normal[from_batch], blended[from_batch])
        images, masks = images.clone(), masks.clone()
        images[anomalous], masks[anomalous] = torch.where(areas > 0, blended, normal), areas
        return images, masks

    def draw_textures(self, anomalous: Tensor, sources: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """A texture for each anomaly.

        With procedural textures, a share of the anomalies takes another image of the batch: a structural defect, in a
        product's own colours. It meets no augmenters, which would make it one texture more.

        Args:
            anomalous: ``(N,)`` positions in the batch of the images that need one.
            sources: ``(B, 3, H, W)`` of range 0..1, as for ``draw_anomalies``.
            generator: Source of all randomness.

        Returns:
            textures: ``(N, 3, H, W)`` of range 0..1.
            from_batch: ``(N,)`` bool: whether the texture is another image of the batch.
        """
        share = self.config.patch_share if self.config.textures is None else 0.0
        from_batch = chance(share, (len(anomalous),), generator)
        textures = torch.empty(len(anomalous), *sources.shape[1:], device=sources.device)
        drawn = len(anomalous) - int(from_batch.sum())
        if drawn:
            new = self.textures.draw(drawn, (sources.shape[2], sources.shape[3]), generator)
            textures[~from_batch] = augment(new, self.config.augmenters, generator)
        if drawn < len(anomalous):
            textures[from_batch] = moved_images(sources, anomalous[from_batch], generator).float()
        return textures, from_batch


def rotate_some(images: Tensor, config: SynthesisConfig, generator: Generator) -> Tensor:
    """A copy of ``images`` ``(B, 3, H, W)``, each rotated with ``rotate_probability``, zero outside."""
    images = images.clone()
    chosen = chance(config.rotate_probability, (len(images),), generator).nonzero().flatten()
    if len(chosen):
        degrees = uniform(-config.rotate_degrees, config.rotate_degrees, (len(chosen),), generator)
        images[chosen] = rotate(images[chosen], degrees)
    return images


def draw_masks(count: int, size: tuple[int, int], config: SynthesisConfig, generator: Generator) -> Tensor:
    """Masks of anomalies: rotated Perlin noise, cut at a threshold, with ``anomaly_probability``; else empty.

    Noise that nowhere exceeds the threshold gives an empty mask too.

    Returns:
        ``(count, 1, H, W)`` float32, 0 or 1.
    """
    masks = torch.zeros(count, 1, *size, device=generator.device)
    chosen = chance(config.anomaly_probability, (count,), generator).nonzero().flatten()
    if len(chosen):
        noise = perlin_noise(draw_lattices(len(chosen), config, generator), size, generator)[:, None]
        noise = rotate(noise, uniform(-90, 90, (len(chosen),), generator))
        masks[chosen] = (noise > config.noise_threshold).float()
    return masks


def draw_lattices(count: int, config: SynthesisConfig, generator: Generator) -> Tensor:
    """``(count, 2)`` int64: cells of the Perlin lattice along rows and columns, powers of 2 drawn independently."""
    return 2 ** integers(0, config.lattice_exponents - 1, (count, 2), generator)


def blend(images: Tensor, textures: Tensor, limit: float, generator: Generator) -> Tensor:
    """``beta * image + (1 - beta) * texture``, ``beta`` from ``[0, limit)`` for each image: DRAEM's equation 1.

    Args:
        images: ``(B, 3, H, W)`` of range 0..1.
        textures: ``(B, 3, H, W)`` of range 0..1.
        limit: Upper end of the image's share.
        generator: Source of the shares.

    Returns:
        ``(B, 3, H, W)`` of range 0..1.
    """
    beta = uniform(0, limit, (len(images), 1, 1, 1), generator).to(images.dtype)
    return beta * images + (1 - beta) * textures


def _require_images(images: Tensor, generator: Generator) -> None:
    """Raise unless ``images`` are what a batch should be."""
    fits = images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point()
    if not fits or images.device.type != generator.device.type:
        raise ImageError(
            "cannot draw anomalies into these images",
            expected=f"float values 0..1 of shape (B, 3, H, W) on {generator.device}",
            got=f"{images.dtype} of shape {tuple(images.shape)} on {images.device}",
        )
