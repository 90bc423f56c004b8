"""Compare the speed of synthesis on one core to a plain version of the same method in NumPy and Pillow.

python benchmarks/synthesis.py [--rounds 15]

DRAEM's synthesis with the settings of training, batches of 16 images of 256 pixels, floats 0..1 in and out. Textures
are in memory on both sides as decoded 8-bit images of a folder, in the memory layout that each side uses. ``clipada,
procedural`` is the default of training: textures are rendered or copied from other images of the batch; the plain
version has no counterpart for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import conditions, time_interleaved
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from clipada.config import SynthesisConfig
from clipada.synthesis import AnomalySynthesizer, ProceduralTextures
from clipada.types import Failure

SIDE = 256
BATCH = 16
Levels = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class MemoryTextures:
    """Textures in memory, ``(N, 3, SIDE, SIDE)`` uint8."""

    levels: torch.Tensor

    @property
    def failures(self) -> Mapping[Path, Failure]:
        """Empty: nothing is read."""
        return {}

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
        """Draw some of them, ``(count, 3, SIDE, SIDE)`` float32."""
        assert size == (SIDE, SIDE)
        places = torch.randint(len(self.levels), (count,), generator=generator)
        return self.levels.index_select(0, places) / 255


def plain_synthesis(
    image: Values, textures: Levels, config: SynthesisConfig, rng: Generator
) -> tuple[Values, NDArray[np.bool_]]:
    """Synthesize one image ``(SIDE, SIDE, 3)`` of range 0..1 and its mask ``(SIDE, SIDE)``."""
    if rng.random() < config.rotate_probability:
        levels = Image.fromarray((255 * image).astype(np.uint8))
        turned = levels.rotate(rng.uniform(-config.rotate_degrees, config.rotate_degrees), Image.Resampling.BILINEAR)
        image = np.asarray(turned, np.float32) / 255
    if rng.random() >= config.anomaly_probability:
        return image, np.zeros((SIDE, SIDE), np.bool_)
    rows, columns = (2 ** rng.integers(0, config.lattice_exponents, 2)).tolist()
    noise = plain_perlin(rows, columns, rng)
    noise = np.asarray(Image.fromarray(noise).rotate(rng.uniform(-90, 90), Image.Resampling.BILINEAR))
    mask = noise > config.noise_threshold
    texture = Image.fromarray(textures[rng.integers(len(textures))])
    for number in rng.permutation(len(PLAIN_AUGMENTERS))[: config.augmenters]:
        texture = PLAIN_AUGMENTERS[number](texture, rng)
    beta = rng.uniform(0, config.blend_limit)
    inside = mask[..., None].astype(np.float32)
    blended = beta * image + (1 - beta) * np.asarray(texture, np.float32) / 255
    return inside * blended + (1 - inside) * image, mask


def plain_perlin(rows: int, columns: int, rng: Generator) -> NDArray[np.float32]:
    """Compute Perlin noise like DRAEM's code: the gradients of the four corners, expanded to all pixels."""
    cell = (SIDE // rows, SIDE // columns)
    grid = np.mgrid[0 : rows : rows / SIDE, 0 : columns : columns / SIDE].transpose(1, 2, 0) % 1
    angles = 2 * np.pi * rng.random((rows + 1, columns + 1))
    gradients = np.stack((np.cos(angles), np.sin(angles)), axis=-1)
    spread = gradients.repeat(cell[0], axis=0).repeat(cell[1], axis=1)
    top, bottom = spread[: -cell[0]], spread[cell[0] :]
    left = ((top[:, : -cell[1]], (0, 0)), (bottom[:, : -cell[1]], (1, 0)))
    corners = (*left, (top[:, cell[1] :], (0, 1)), (bottom[:, cell[1] :], (1, 1)))
    n00, n10, n01, n11 = (((grid - corner) * gradient).sum(axis=2) for gradient, corner in corners)
    t = 6 * grid**5 - 15 * grid**4 + 10 * grid**3
    upper = n00 * (1 - t[:, :, 0]) + t[:, :, 0] * n10
    lower = n01 * (1 - t[:, :, 0]) + t[:, :, 0] * n11
    noise: NDArray[np.float32] = (np.sqrt(2) * ((1 - t[:, :, 1]) * upper + t[:, :, 1] * lower)).astype(np.float32)
    return noise


def _gamma(image: Image.Image, rng: Generator) -> Image.Image:
    values = np.asarray(image, np.float32) / 255
    return Image.fromarray((255 * values ** rng.uniform(0.5, 2, 3)).astype(np.uint8))


def _brightness(image: Image.Image, rng: Generator) -> Image.Image:
    values = rng.uniform(0.8, 1.2) * np.asarray(image, np.float32) + rng.uniform(-30, 30)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _hue_saturation(image: Image.Image, rng: Generator) -> Image.Image:
    hsv = np.array(image.convert("HSV")).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + rng.integers(-50, 51)) % 256
    hsv[..., 1] = (hsv[..., 1] + rng.integers(-50, 51)).clip(0, 255)
    return Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")


PLAIN_AUGMENTERS: tuple[Callable[[Image.Image, Generator], Image.Image], ...] = (
    _gamma,
    _brightness,
    lambda image, rng: ImageEnhance.Sharpness(image).enhance(rng.uniform(0, 3)),
    _hue_saturation,
    lambda image, rng: ImageOps.solarize(image, int(rng.integers(32, 129))) if rng.random() < 0.5 else image,
    lambda image, rng: ImageOps.posterize(image, int(rng.integers(1, 9))),
    lambda image, _: ImageOps.invert(image),
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, rng: image.rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR),
)
"""Ten augmenters of DRAEM in Pillow and NumPy."""


def candidates() -> dict[str, Callable[[int], object]]:
    """Return functions that make a batch each; their argument is the seed."""
    images, textures = (ProceduralTextures().draw(64, (SIDE, SIDE), torch.Generator().manual_seed(s)) for s in (0, 1))
    planes = (255 * textures).byte()
    levels = planes.permute(0, 2, 3, 1).contiguous().numpy()
    rows = images.permute(0, 2, 3, 1).contiguous().numpy()
    folder, procedural = SynthesisConfig(textures="in memory"), SynthesisConfig()
    from_memory = AnomalySynthesizer(folder, MemoryTextures(planes))
    by_default = AnomalySynthesizer(procedural, ProceduralTextures())

    def batch(seed: int) -> torch.Tensor:
        return images.view(-1, BATCH, *images.shape[1:])[seed % (len(images) // BATCH)]

    def plain(seed: int) -> object:
        rng = np.random.default_rng(seed)
        chosen = (np.arange(BATCH) + seed * BATCH) % len(rows)
        return [plain_synthesis(rows[place], levels, folder, rng) for place in chosen]

    return {
        "plain": plain,
        "clipada": lambda seed: from_memory(batch(seed), torch.Generator().manual_seed(seed)),
        "clipada, procedural": lambda seed: by_default(batch(seed), torch.Generator().manual_seed(seed)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(conditions(1, "torch", "numpy", "pillow"))
    seconds = time_interleaved(candidates(), options.rounds)
    for name, values in seconds.items():
        wall, own = BATCH * options.rounds / values.sum(axis=1)
        ratios = seconds["plain"].sum(axis=1) / values.sum(axis=1)
        print(f"{name}: {wall:.0f} images/s, {own:.0f} by processor time", end="")
        print(f"; {ratios[0]:.2f} x plain, {ratios[1]:.2f} by processor time")


if __name__ == "__main__":
    main()
