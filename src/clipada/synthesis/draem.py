"""Synthetic anomalies after DRAEM (Zavrtanik et al., ICCV 2021, section 3.3).

A normal image stays unchanged, or another texture is blended into an area of it, and the mask is that area. Parameters
are drawn for the whole batch; pixels are changed image by image, since one image fits into the processor's caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from clipada.config import SynthesisConfig
from clipada.errors import ImageError
from clipada.synthesis.affine import rotations, warp
from clipada.synthesis.augmenters import augment
from clipada.synthesis.draws import chance, integers, uniform
from clipada.synthesis.patches import moved_images, visible
from clipada.synthesis.perlin import perlin_noise
from clipada.synthesis.textures import TextureSource

Outside = Literal["zeros", "reflection"]
"""Content of a rotated image outside of the photo."""


@dataclass(frozen=True)
class AnomalySynthesizer:
    """Generator of synthetic anomalies in normal images.

    Attributes:
        config: All settings.
        textures: Source of the textures.
        outside: What a rotated image shows outside of the photo: ``zeros`` in trainings, as in DRAEM, or
            ``reflection``, which mirrors the photo for people.
    """

    config: SynthesisConfig
    textures: TextureSource
    outside: Outside = "zeros"

    def __call__(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Rotate some images, then draw an anomaly into some.

        Args:
            images: ``(B, 3, H, W)`` float32 of range 0..1: normal images; not modified.
            generator: Source of all randomness, on the images' device.

        Returns:
            images: ``(B, 3, H, W)``, of range 0..1. Outside the mask they equal the (rotated) normal images exactly.
            masks: ``(B, 1, H, W)`` float32, 1 where anomalous; all 0 for images left normal.

        Raises:
            ImageError: The images are of another shape, type or device.
        """
        _require_images(images, generator)
        changed = rotate_some(images, self.config, generator, self.outside)
        masks = draw_masks(len(images), (images.shape[2], images.shape[3]), self.config, generator)
        self._draw_into(changed, masks, images, generator)
        return changed, masks

    def draw_anomalies(
        self, images: Tensor, masks: Tensor, sources: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw anomalies inside given masks.

        Args:
            images: ``(B, 3, H, W)`` of range 0..1.
            masks: ``(B, 1, H, W)``, 0 or 1; images whose mask is empty stay normal.
            sources: ``(B, 3, H, W)`` images from which parts may be copied: ``images`` before rotation.
            generator: Source of all randomness.

        Returns:
            images: ``(B, 3, H, W)``.
            masks: ``(B, 1, H, W)``: the given masks without areas where a copied part does not visibly differ.
        """
        images, masks = images.clone(), masks.clone()
        self._draw_into(images, masks, sources, generator)
        return images, masks

    def _draw_into(self, images: Tensor, masks: Tensor, sources: Tensor, generator: Generator) -> None:
        """Draw anomalies in place; see ``draw_anomalies``."""
        anomalous = masks.amax((1, 2, 3)).nonzero().flatten()
        if not len(anomalous):
            return
        textures, from_batch = self.draw_textures(anomalous, sources, generator)
        shares = draw_shares(len(anomalous), self.config.blend_limit, generator)
        for place, texture, share, moved in zip(anomalous.tolist(), textures, shares, from_batch, strict=True):
            image, area = images[place, None], masks[place, None]
            blended = blend(image, texture, share)
            if moved:
                area *= visible(image, blended)
            torch.lerp(image, blended, area, out=image)  # selects exactly: areas are 0 or 1

    def draw_textures(
        self, anomalous: Tensor, sources: Tensor, generator: Generator
    ) -> tuple[list[Tensor], list[bool]]:
        """Return a texture for each anomaly.

        With procedural textures, a share of the anomalies copies another image of the batch: a structural defect in a
        product's own colors. Augmenters are not applied to it, as they would turn it into just another texture.

        Args:
            anomalous: ``(N,)`` positions in the batch of the images that need one.
            sources: ``(B, 3, H, W)`` of range 0..1, as for ``draw_anomalies``.
            generator: Source of all randomness.

        Returns:
            textures: ``N`` of ``(1, 3, H, W)``, of range 0..1.
            from_batch: For each, True if it is another image of the batch.
        """
        share = self.config.patch_share if self.config.textures is None else 0.0
        from_batch = chance(share, (len(anomalous),), generator)
        moved, drawn = anomalous[from_batch], len(anomalous) - int(from_batch.sum())
        new: list[Tensor] = []
        if drawn:
            size = (sources.shape[2], sources.shape[3])
            new = augment(self.textures.draw(drawn, size, generator), self.config.augmenters, generator)
        parts = list(moved_images(sources, moved, generator)[:, None]) if len(moved) else []
        kinds = from_batch.tolist()
        return [(parts if is_part else new).pop(0) for is_part in kinds], kinds


def rotate_some(images: Tensor, config: SynthesisConfig, generator: Generator, outside: Outside = "zeros") -> Tensor:
    """Copy ``images`` ``(B, 3, H, W)`` and rotate each with ``rotate_probability``; zero outside, or mirrored."""
    rotated = list(images[:, None])
    chosen = chance(config.rotate_probability, (len(images),), generator).nonzero().flatten()
    if len(chosen):
        degrees = uniform(-config.rotate_degrees, config.rotate_degrees, (len(chosen),), generator)
        turned = rotations(degrees, (images.shape[2], images.shape[3]))[:, None]
        for place, turn in zip(chosen.tolist(), turned, strict=True):
            rotated[place] = warp(rotated[place], turn, outside)
    return torch.cat(rotated)


def draw_masks(count: int, size: tuple[int, int], config: SynthesisConfig, generator: Generator) -> Tensor:
    """Draw masks: with ``anomaly_probability`` rotated Perlin noise above a threshold, else empty.

    Noise that nowhere exceeds the threshold also gives an empty mask.

    Returns:
        ``(count, 1, H, W)`` float32, 0 or 1.
    """
    masks = torch.zeros(count, 1, *size, device=generator.device)
    chosen = chance(config.anomaly_probability, (count,), generator).nonzero().flatten()
    if len(chosen):
        noise = perlin_noise(draw_lattices(len(chosen), config, generator), size, generator)
        turned = rotations(uniform(-90, 90, (len(chosen),), generator), size)[:, None]
        for place, field, turn in zip(chosen.tolist(), noise, turned, strict=True):
            torch.gt(warp(field[None, None], turn)[0], config.noise_threshold, out=masks[place])
    return masks


def draw_lattices(count: int, config: SynthesisConfig, generator: Generator) -> Tensor:
    """Draw the number of Perlin cells along rows and columns, independent powers of 2: ``(count, 2)`` int64."""
    return 2 ** integers(0, config.lattice_exponents - 1, (count, 2), generator)


def draw_shares(count: int, limit: float, generator: Generator) -> Tensor:
    """Draw the images' shares ``beta`` in the blend, from ``[0, limit)``: ``(count,)`` float32."""
    return uniform(0, limit, (count,), generator)


def blend(image: Tensor, texture: Tensor, share: Tensor) -> Tensor:
    """Return ``beta * image + (1 - beta) * texture``: DRAEM's equation 1.

    Args:
        image: ``(B, 3, H, W)`` of range 0..1.
        texture: ``(B, 3, H, W)`` of range 0..1.
        share: ``beta``, 0..1, one value.

    Returns:
        ``(B, 3, H, W)`` of range 0..1.
    """
    return torch.lerp(texture.to(image.dtype), image, share.to(image.dtype))


def _require_images(images: Tensor, generator: Generator) -> None:
    """Raise unless ``images`` have the shape, type and device of a batch."""
    fits = images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point()
    if not fits or images.device.type != generator.device.type:
        raise ImageError(
            "cannot draw anomalies into these images",
            expected=f"float values 0..1 of shape (B, 3, H, W) on {generator.device}",
            got=f"{images.dtype} of shape {tuple(images.shape)} on {images.device}",
        )
