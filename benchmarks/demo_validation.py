"""Write validation parts for the demo's settings: the same products with another seed and other defects than its test.

PYTHONPATH=scripts python benchmarks/demo_validation.py OUT
clipada train OUT --preset demo --out RUN
clipada evaluate RUN OUT

The MVTec AD layout has 100 good parts of each product for training and 48 for testing, and these 48 with a small defect
(``small``) and with the wear of nano's pre-training (``wear``). Invisible defects are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from small_defects import Pixels, draw_small_defect, product

from clipada.data.demo import PRODUCTS
from clipada.types import Mask
from nano.defects import spoil
from nano.wear import WEAR_PAINTERS

SEED = 77
"""Seed of the parts; the demo uses 0."""

TRAIN, TEST = 100, 48
"""Good parts of each product."""

SMALLEST = 24
"""Smallest number of pixels of a defect."""

BEHIND = 0.15
"""Gray level behind a hole."""


def main() -> None:
    """Draw and write the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    for made in PRODUCTS:
        folder = out / made.name
        for index in range(TRAIN):
            _write(folder / "train" / "good" / f"{index:03d}.png", made.part(SEED, "train", index=index).image)
        parts = [made.part(SEED, "test", index=index).image for index in range(TEST)]
        for index, part in enumerate(parts):
            _write(folder / "test" / "good" / f"{index:03d}.png", part)
        good = (np.stack(parts) / 255).astype(np.float32)
        for kind, drawn in (("small", _small(good)), ("wear", _wear(good))):
            for index, (image, mask) in enumerate(drawn):
                if mask.sum() >= SMALLEST:
                    name = folder / "test" / kind / f"{index:03d}.png"
                    _write(name, (255 * image).round().astype(np.uint8))
                    truth = folder / "ground_truth" / kind / f"{index:03d}_mask.png"
                    _write(truth, mask.astype(np.uint8) * 255)


def _small(good: Pixels) -> list[tuple[Pixels, Mask]]:
    """Draw a small defect on each part ``(n, H, W, 3)``; return parts and masks."""
    rng = np.random.default_rng(SEED)
    return [draw_small_defect(image, rng) for image in good]


def _wear(good: Pixels) -> list[tuple[Pixels, Mask]]:
    """Draw wear on each part ``(n, H, W, 3)``, one kind after another; return parts and masks."""
    images = torch.from_numpy(good).permute(0, 3, 1, 2)
    where = torch.from_numpy(np.stack([product(image) for image in good])).float()
    kinds = torch.arange(len(good)) % len(WEAR_PAINTERS)
    generator = torch.Generator().manual_seed(SEED)
    behind = torch.full_like(images, BEHIND)
    worn, masks = spoil(images, behind, kinds, where, generator, painters=WEAR_PAINTERS)
    return list(zip(worn.permute(0, 2, 3, 1).numpy(), masks.numpy(), strict=True))


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
