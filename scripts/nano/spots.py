"""Positions of defects, and drawing primitives for lines and patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipada.synthesis.draws import chance, log_uniform, per_image, uniform
from clipada.synthesis.patterns import gaussian_noise
from nano.draws import pixels


@dataclass(frozen=True)
class Spot:
    """Position and content of the place where a defect is drawn.

    Attributes:
        image: Current images, ``(n, 3, H, W)``.
        behind: Background behind the objects, ``(n, 3, H, W)``.
        y, x: Pixel offsets from each defect's center along randomly rotated axes, ``(n, H, W)``.
        generator: Source of all randomness.
    """

    image: Tensor
    behind: Tensor
    y: Tensor
    x: Tensor
    generator: Generator

    def __len__(self) -> int:
        return len(self.image)

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw one value for each image, ``(n, 1, 1)``."""
        return per_image(uniform(low, high, (len(self),), self.generator))

    def log_uniform(self, low: float, high: float) -> Tensor:
        """Draw one value for each image, ``(n, 1, 1)``."""
        return per_image(log_uniform(low, high, (len(self),), self.generator))

    def chance(self, probability: float) -> Tensor:
        """Draw one value for each image, ``(n, 1, 1)``."""
        return per_image(chance(probability, (len(self),), self.generator))

    def color(self) -> Tensor:
        """Draw any color, ``(n, 3, 1, 1)``."""
        return uniform(0, 1, (len(self), 3, 1, 1), self.generator)

    def noise(self, slope: float) -> Tensor:
        """Draw Gaussian noise ``(n, H, W)`` of a spectrum ``1 / f^slope``."""
        return gaussian_noise(torch.full((len(self),), slope), (self.y.shape[1], self.y.shape[2]), self.generator)

    def toned(self, low: float, high: float) -> Tensor:
        """Return the image darker or lighter by a factor; very dark images become lighter."""
        factor = self.uniform(low, high)[:, None]
        return (self.image * factor + (factor - 1).clamp(min=0) * 0.25).clamp(0, 1)

    def moved(self, down: Tensor, across: Tensor) -> Tensor:
        """Return the image with its content shifted by ``(down, across)`` pixels, each ``(n, H, W)``."""
        height, width = self.y.shape[1:]
        y, x = pixels((height, width))
        grid = torch.stack(((x + across + 0.5) * 2 / width - 1, (y + down + 0.5) * 2 / height - 1), dim=-1)
        return F.grid_sample(self.image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


Painted = tuple[Tensor, Tensor]
Defect = Callable[[Spot], Painted]


def line(across: Tensor, along: Tensor, width: Tensor, length: Tensor) -> Tensor:
    """Return the opacity of a line with soft edges and pointed ends."""
    taper = (1 - (2 * along / length) ** 2).clamp(min=0)
    return ((width * taper.sqrt() / 2 - across.abs()) + 0.5).clamp(0, 1) * (taper > 0)


def patch(spot: Spot, low: float, high: float, roughness: float) -> Tensor:
    """Return the signed depth in pixels inside an irregular, elongated patch of radius ``low`` to ``high``."""
    radius, stretch = spot.log_uniform(low, high), spot.log_uniform(1, 2.2)
    away = ((spot.y / stretch) ** 2 + (spot.x * stretch) ** 2).sqrt()
    return radius * (1 + roughness * spot.noise(2.2).clamp(-2, 2)) - away
